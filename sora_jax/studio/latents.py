"""A video to latents and back, with the autoencoder of a model: any length, in constant memory."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import files, media, mp4, sheets
from sora_jax.errors import UsageError
from sora_jax.export import latents as npz
from sora_jax.export.bundle import VAEBundle, open_vae
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate.codec import Codec, check_size
from sora_jax.studio.record import file_digest, tool

CRF = 12  # of the mp4: what the autoencoder does shall not drown in what the codec does
SHEET_FRAMES = 8

type Progress = Callable[[int, int], None]  # frames done, of how many (0: not known)
type Frame = NDArray[np.uint8]


def encode(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    pad: bool = False,
    tile: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the latents of a video as an npz that `decode` and `numpy.load` read.

    With `pad` the last frame is held and the lower and right edge repeated as far as whole chunks
    and whole latents need; `decode` cuts that off again. With `tile` (pixels) pictures are done
    tile by tile.
    """
    out = _check_out(out, ".npz")
    bundle = open_vae(model)
    check_tile(bundle, tile)
    video = _Video(source, bundle, pad)
    start = time.monotonic()
    pieces = Codec.of(bundle).encode_stream(_counted(video, video.stated, progress), tile=tile)
    shape = npz.write(
        out,
        pieces,
        lambda: npz.LatentsFile(
            fps=video.fps,
            num_frames=video.num_frames,
            size=video.size,
            model=npz.identity(bundle),
            model_digest=bundle.digest,
            video_sha256=file_digest(source),
        ),
    )
    height, width = video.size
    return {
        "output": str(out),
        "latents": list(shape),
        "frames": video.num_frames,
        "fps": video.fps,
        "size": [width, height],
        "bytes": out.stat().st_size,
        "compression": bundle.vae.patch_values / bundle.vae.channels,
        "model": str(bundle.path),
        "model_digest": bundle.digest,
        "seconds": round(time.monotonic() - start, 3),
        "notes": video.notes,
    }


@tool
def decode(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    tile: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the video of a LATENTS.npz, in its own length, size and rate."""
    out = _check_out(out, ".mp4")
    bundle = open_vae(model)
    check_tile(bundle, tile)
    reader = npz.LatentsReader(source)
    reader.check_model(bundle)
    beside, start = reader.beside, time.monotonic()
    height, width = beside.size
    codec = Codec.of(bundle)
    pieces = reader.pieces(codec.piece_chunks(beside.size))
    digest, shown = hashlib.sha256(), []
    picks = set(np.linspace(0, beside.num_frames - 1, SHEET_FRAMES).round().astype(int).tolist())

    def frames() -> Iterator[Frame]:
        for i, frame in enumerate(codec.decode_stream(pieces, tile=tile)):
            if i < beside.num_frames:
                cut = np.ascontiguousarray(frame[:height, :width])
                digest.update(cut.tobytes())
                if i in picks:
                    shown.append(cut)
                yield cut

    is_odd = bool(height % 2 or width % 2)
    counted = _counted(frames(), beside.num_frames, progress)
    with files.writing(out) as target:
        form = "yuv444p" if is_odd else "yuv420p"
        mp4.encode_frames(target, counted, beside.size, beside.fps, crf=CRF, pixel_format=form)
    sheet = out.with_suffix(".png")
    media.write_png(sheet, sheets.contact_sheet([np.stack(shown)]))
    return {
        "output": str(out),
        "contact_sheet": str(sheet),
        "frames": beside.num_frames,
        "fps": beside.fps,
        "size": [width, height],
        "model": str(bundle.path),
        "model_digest": bundle.digest,
        "seconds": round(time.monotonic() - start, 3),
        "notes": ["the odd size is kept as yuv444p, which not all players show"] * is_odd,
        "details": {
            "inputs": {str(Path(source).resolve()): file_digest(source)},
            "frames_sha256": digest.hexdigest(),
        },
    }


def check_tile(bundle: VAEBundle, tile: int) -> None:
    """Raise UsageError for tiles that are not whole latents; 0 means none."""
    unit = bundle.vae.spatial
    if tile < 0 or tile % unit:
        near = max(unit, round(tile / unit) * unit)
        raise UsageError(f"--tile {tile} is not a multiple of {unit} pixels, a latent; use {near}")


class _Video:
    """The frames of a file as the autoencoder takes them, one by one, checked on the way.

    `num_frames` is known once all have been read; `stated` is what the file's header says, or 0.
    """

    def __init__(self, source: str | Path, bundle: VAEBundle, pad: bool):
        self._source, self._unit, self._pad = source, bundle.vae.spatial, pad
        info = media.probe(source)
        self.fps, self.stated = info.fps, info.num_frames
        first = next(media.stream_frames(source))  # the header may lie on its side
        self.size = first.shape[0], first.shape[1]
        self.num_frames = 0
        self.notes: list[str] = []
        if not pad:
            self._check_count(self.stated)
            self._check_size(bundle)
        add = [-side % self._unit for side in self.size]
        self._margin = ((0, add[0]), (0, add[1]), (0, 0))
        if any(add):
            self.notes.append(
                f"{self.size[1]}x{self.size[0]} was padded to {self.size[1] + add[1]}x"
                f"{self.size[0] + add[0]}, whole latents; decode cuts it to its size"
            )

    def __iter__(self) -> Iterator[Frame]:
        for frame in media.stream_frames(self._source):
            if frame.shape[:2] != self.size:
                raise UsageError(
                    f"{self._source} changes its size at frame {self.num_frames} to "
                    f"{frame.shape[1]}x{frame.shape[0]}; re-encode it"
                )
            self.num_frames += 1
            whole = np.pad(frame, self._margin, mode="edge")
            yield whole
        if not self._pad:
            self._check_count(self.num_frames)
        missing = -self.num_frames % CHUNK_FRAMES
        if missing:
            self.notes.append(
                f"the last of {self.num_frames} frames was held for {missing} more; decode cuts "
                "them off"
            )
        for _ in range(missing):
            yield whole

    def _check_count(self, count: int) -> None:
        if count % CHUNK_FRAMES:
            shorter = count // CHUNK_FRAMES * CHUNK_FRAMES
            trim = f", or trim it to {shorter}" if shorter else ""
            raise UsageError(
                f"{self._source} has {count} frames, not a multiple of {CHUNK_FRAMES}; add --pad, "
                f"which holds the last one{trim}"
            )

    def _check_size(self, bundle: VAEBundle) -> None:
        try:
            check_size(bundle.vae, self.size)
        except UsageError as error:
            raise UsageError(f"{self._source}: {error}; or add --pad, which fills it up") from error


def _check_out(out: str | Path, suffix: str) -> Path:
    out = files.check_folder(out)
    if out.suffix.lower() != suffix:
        raise UsageError(f"cannot write {out}: name it {out.stem}{suffix}")
    return out


def _counted(frames: Any, total: int, progress: Progress | None) -> Iterator[Frame]:
    for i, frame in enumerate(frames, 1):
        yield frame
        if progress is not None:
            progress(i, total)
