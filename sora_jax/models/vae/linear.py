"""The linear codec: principal components of patches. The VAE starts at it and is held to it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LinearCodec:
    """`latents = (x - mean) @ basis / scale`, `x = scale * latents @ basis.T + mean`."""

    mean: np.ndarray  # (values,) of folded pixels
    basis: np.ndarray  # (values, channels), orthonormal columns, largest variance first
    scale: float  # makes the mean variance of the latents 1

    def reconstruct(self, folded: np.ndarray) -> np.ndarray:
        """The nearest patches that `channels` numbers can say; shape ... values."""
        return (folded - self.mean) @ self.basis @ self.basis.T + self.mean


def fit(folded: np.ndarray, channels: int) -> LinearCodec:
    """Principal components of `folded` (... values). Needs at least `channels` distinct patches."""
    rows = folded.reshape(-1, folded.shape[-1]).astype(np.float32)
    mean = rows.mean(0)
    centred = rows - mean
    values, vectors = np.linalg.eigh(centred.T @ centred)
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :channels])
    scale = float(np.sqrt(np.mean(values[::-1][:channels]) / len(rows)))
    return LinearCodec(mean, basis, scale)


def start_at(params: dict, codec: LinearCodec) -> dict:
    """VAE params whose linear paths are the codec. New dict; shapes are checked by assertion."""
    kernel = codec.basis / codec.scale
    encoder = {"kernel": kernel, "bias": -codec.mean @ kernel}
    decoder = {"kernel": codec.basis.T * codec.scale, "bias": codec.mean}
    for part, values in (("encoder", encoder), ("decoder", decoder)):
        for name, value in values.items():
            assert params[part]["linear"][name].shape == value.shape, (part, name)
    return params | {
        part: params[part] | {"linear": {k: v.astype(np.float32) for k, v in values.items()}}
        for part, values in (("encoder", encoder), ("decoder", decoder))
    }
