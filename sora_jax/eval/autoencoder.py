"""The suite `vae`: how much of a clip an autoencoder keeps, and what its latents are like."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.eval import reconstruction
from sora_jax.eval.frechet import frechet_distance
from sora_jax.eval.running import Evaluation, Progress
from sora_jax.eval.showcase import show_reconstructions

Videos = NDArray[np.uint8]  # N T H W 3
Latents = NDArray[np.float32]  # N n h w C, normalised

BATCH = 8  # clips between two signs of progress
SHOWN = 8  # clips on the contact sheet


@runtime_checkable
class Coder(Protocol):
    """What is judged (`generate.codec.Codec`)."""

    def encode(self, video: Videos) -> Latents: ...

    def decode(self, latents: Latents) -> Videos: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """A frozen network that sees what pixels do not say; figures are called by its name."""

    name: str
    distance: Callable[[Videos, Videos], NDArray[np.floating]]
    """A number for each pair of clips, 0 for equal ones."""
    pooled: Callable[[Videos], NDArray[np.floating]] | None = None
    """A vector for each frame of each clip, (N T) D, for a Frechet distance."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PinnedClips:
    """The clips that are judged, all of one geometry, and where they come from."""

    source: str
    split: str
    fps: float
    ids: tuple[str, ...]
    videos: Videos

    def describe(self) -> dict[str, Any]:
        """What another evaluation must show to have seen the same pixels."""
        found = [hashlib.sha256(video.tobytes()).hexdigest() for video in self.videos]
        frames, height, width = self.videos.shape[1:4]
        return {
            "source": self.source,
            "split": self.split,
            "n": len(self.ids),
            "frames": frames,
            "size": [width, height],
            "fps": self.fps,
            "sha256": hashlib.sha256("".join(found).encode()).hexdigest(),
            "list": [
                {"id": name, "sha256": digest} for name, digest in zip(self.ids, found, strict=True)
            ],
        }


def evaluate_vae(
    codec: Coder,
    clips: PinnedClips,
    *,
    features: Sequence[Features] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of the clips, their latents and their reconstructions, and examples to look at.

    The figures hold `clips`, `vae` (PSNR, SSIM, temporal error, sharpness), `latents` and, by the
    names of `features`, `perceptual` and `frechet`.
    """
    rebuilt, latents = [], []
    seen = {each.name: _Seen(each) for each in features}
    for start in range(0, len(clips.videos), BATCH):
        videos = clips.videos[start : start + BATCH]
        latents.append(codec.encode(videos))
        rebuilt.append(codec.decode(latents[-1]))
        for eyes in seen.values():
            eyes.look(videos, rebuilt[-1])
        if progress is not None:
            progress("reconstruct", min(start + BATCH, len(clips.videos)), len(clips.videos))
    result = np.concatenate(rebuilt)
    figures = {
        "clips": clips.describe(),
        "vae": _compare(clips.videos, result),
        "latents": latent_figures(np.concatenate(latents)),
        "perceptual": {name: eyes.distance() for name, eyes in seen.items()},
        "frechet": {name: eyes.frechet() for name, eyes in seen.items() if eyes.has_frechet},
    }
    return Evaluation(
        figures=figures,
        examples=show_reconstructions(clips.ids, clips.videos, result, count=SHOWN),
    )


def latent_figures(latents: Latents) -> dict[str, Any]:
    """Statistics of normalised latents N n h w C over all their places.

    `channel_kl` is the KL divergence in nats of each channel, as a Gaussian, from the standard one;
    `effective_channels` is the participation ratio of the eigenvalues of the channels' covariance:
    C if all carry as much, independently, and 1 if one carries everything.
    """
    rows = latents.reshape(-1, latents.shape[-1]).astype(np.float64)
    mean, variance = rows.mean(0), rows.var(0)
    kl = 0.5 * (variance + mean**2 - 1 - np.log(np.maximum(variance, 1e-12)))
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True).reshape(len(mean), -1)).clip(0)
    return {
        "channels": len(mean),
        "mean": float(rows.mean()),
        "std": float(rows.std()),
        "kl": float(kl.sum()),
        "effective_channels": float(values.sum() ** 2 / max(float(np.sum(values**2)), 1e-12)),
        "channel_mean": mean.tolist(),
        "channel_std": np.sqrt(variance).tolist(),
        "channel_kl": kl.tolist(),
    }


def summarise(figures: dict[str, Any]) -> dict[str, str]:
    """The figures for people: one line each."""
    vae, latents, clips = figures["vae"], figures["latents"], figures["clips"]
    width, height = clips["size"]
    lines = {
        "clips": f"{clips['n']} of {clips['frames']} frames, {width}x{height}, {clips['source']}",
        "psnr": f"{vae['psnr']:.2f} dB",
        "ssim": f"{vae['ssim']:.4f}",
        "flicker": f"{vae['flicker']:.2f} of 255 (the source moves by {vae['motion']:.2f})",
        "sharpness": f"{vae['gradient_energy']:.3f} of the source's gradient energy",
        "latents": f"mean {latents['mean']:.3f}, std {latents['std']:.3f}, "
        f"{latents['effective_channels']:.1f} of {latents['channels']} channels effective",
    }
    if "linear_psnr" in vae:
        lines["linear codec"] = f"{vae['linear_psnr']:.2f} dB at the same compression"
    if "compression" in vae:
        lines["compression"] = f"{vae['compression']:.4g} values to 1"
    for kind in ("perceptual", "frechet"):
        for name, value in figures[kind].items():
            distance = value["distance"] if isinstance(value, dict) else value
            lines[f"{kind}, {name}"] = f"{distance:.4f}"
    return lines


class _Seen:
    """What one network saw of all clips."""

    def __init__(self, features: Features):
        self._features = features
        self._distances: list[NDArray] = []
        self._pooled: list[tuple[NDArray, NDArray]] = []
        self.has_frechet = features.pooled is not None

    def look(self, source: Videos, rebuilt: Videos) -> None:
        self._distances.append(self._features.distance(source, rebuilt))
        if self._features.pooled is not None:
            self._pooled.append((self._features.pooled(source), self._features.pooled(rebuilt)))

    def distance(self) -> float:
        return float(np.concatenate(self._distances).mean())

    def frechet(self) -> dict[str, Any]:
        real, made = (np.concatenate(parts) for parts in zip(*self._pooled, strict=True))
        distance = frechet_distance(real, made)
        return {"distance": distance, "frames": len(real), "dims": real.shape[1]}


def _compare(source: Videos, rebuilt: Videos) -> dict[str, Any]:
    each = reconstruction.psnr_each(rebuilt, source)
    sharp = reconstruction.gradient_energy(source)
    return {
        "psnr": reconstruction.psnr(rebuilt, source),
        "psnr_worst": min(each),
        "ssim": float(np.mean(reconstruction.ssim_each(rebuilt, source))),
        **reconstruction.flicker(source, rebuilt, CHUNK_FRAMES),
        "gradient_energy": reconstruction.gradient_energy(rebuilt) / max(sharp, 1e-12),
        "psnr_clips": [round(value, 3) for value in each],
    }
