"""The stage `encode_latents`: what a frozen autoencoder makes of clips, once instead of each epoch.

Clips of any shapes are taken in windows; those of one shape are encoded together, spread over the
devices of a mesh, so there is one compiled program a shape. Records come out in their order.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Params
from sora_jax.data import records
from sora_jax.data.geometry import CHUNK_FRAMES, hold_first
from sora_jax.data.records import Source
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.network import ModelConfig
from sora_jax.sharding import mesh as meshes

_WINDOW = 4  # batches that are decoded before they are sorted by shape

type Video = NDArray[np.uint8]
type Report = Callable[[str], None]


class LatentEncoder:
    """The autoencoder of a model on all devices of a mesh; `params` are those of the VAE."""

    def __init__(
        self, model: ModelConfig, params: Params, mesh: meshes.Mesh, *, batch_size: int = 64
    ):
        shards = meshes.num_batch_shards(mesh)
        if batch_size < 1 or batch_size % shards:
            raise UsageError(
                f"batch_size {batch_size} does not divide over {shards} devices; use a multiple"
            )
        self.batch_size = batch_size
        self.cell = CHUNK_FRAMES, model.vae.spatial, model.vae.spatial
        """Frames, rows and columns of pixels in a latent."""
        self._params = jax.device_put(params, meshes.replicated(mesh))
        self._rows = meshes.batch_sharding(mesh)
        self._encode = jax.jit(
            functools.partial(_encode, model=model),
            in_shardings=(meshes.replicated(mesh), self._rows),
            out_shardings=self._rows,
        )

    def __call__(self, videos: Sequence[Video]) -> NDArray[np.float16]:
        """Latents B n h w C of clips T H W 3 of one shape, whose sides are multiples of `cell`."""
        parts = []
        for start in range(0, len(videos), self.batch_size):
            part = list(videos[start : start + self.batch_size])
            # Copies fill up the last batch, so that one program serves all.
            padded = np.stack(part + part[-1:] * (self.batch_size - len(part)))
            # Virtual devices of a CPU share the threads that copy: wait until the batch is there.
            placed = jax.block_until_ready(jax.device_put(padded, self._rows))
            found = self._encode(self._params, placed)
            parts.append(np.asarray(found, np.float16)[: len(part)])
        return np.concatenate(parts)


def encode_latents(
    source: Source[VideoRecord],
    encoder: LatentEncoder,
    *,
    with_held: bool = False,
    report: Report | None = None,
) -> Iterator[VideoRecord]:
    """The records of `source` with latents (half precision) in place of their videos.

    A clip is cut at its end to whole chunks and at its sides, evenly, to whole latents; a still
    image fills a chunk. Scores, captions and the rest stay. With `with_held` the latents of the
    clip as it is are followed by those of the clip begun by its first frame, held for a chunk: an
    image to animate. `report` is told of each record that is left out because it is smaller than
    one latent. Raises UsageError for a record that has no video or is damaged.
    """
    size = _WINDOW * encoder.batch_size
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        read = functools.partial(_read, source, encoder.cell)
        waiting = [pool.map(read, range(min(size, len(source))))]
        for start in range(0, len(source), size):
            waiting.append(pool.map(read, range(start + size, min(start + 2 * size, len(source)))))
            window = list(waiting.pop(0))
            for record, video in window:
                if video is None and report is not None:
                    report(
                        f"left out {record.id}: {record.num_frames} frames of {record.width}x"
                        f"{record.height} are less than one latent"
                    )
            yield from _encoded([(r, v) for r, v in window if v is not None], encoder, with_held)


def _encoded(
    window: Sequence[tuple[VideoRecord, Video]], encoder: LatentEncoder, with_held: bool
) -> Iterator[VideoRecord]:
    """Encode the clips of a window, shape by shape, and give them back in order."""
    latents: dict[int, NDArray[np.float16]] = {}
    for shape in sorted({video.shape for _, video in window}):
        places = [i for i, (_, video) in enumerate(window) if video.shape == shape]
        videos = [window[i][1] for i in places]
        found = encoder(videos)
        if with_held:
            held = encoder([hold_first(video) for video in videos])
            found = np.concatenate([found, held], axis=1)
        latents |= dict(zip(places, found, strict=True))
    for i, (record, video) in enumerate(window):
        yield dataclasses.replace(
            record,
            video=None,
            latents=latents[i],
            num_frames=1 if record.num_frames == 1 else len(video),
            height=video.shape[1],
            width=video.shape[2],
        )


def _read(
    source: Source[VideoRecord], cell: tuple[int, int, int], index: int
) -> tuple[VideoRecord, Video | None]:
    """A record and its pixels, cut to whole latents; None if nothing is left."""
    record = source[index]
    video = records.decode(record)
    if len(video) == 1:
        video = np.repeat(video, cell[0], axis=0)
    frames, height, width = (
        side // unit * unit for side, unit in zip(video.shape[:3], cell, strict=True)
    )
    if not frames * height * width:
        return record, None
    top, left = (video.shape[1] - height) // 2, (video.shape[2] - width) // 2
    return record, video[:frames, top : top + height, left : left + width]


def _encode(params: Params, video: Array, *, model: ModelConfig) -> Array:
    return network.vae_encode(model, params, video.astype(jnp.float32) / 127.5 - 1)
