"""The stage `encode_latents`: what a frozen autoencoder makes of clips, once instead of each epoch.

The autoencoder takes each chunk of frames alone, so chunks of clips of any lengths are encoded
together, spread over the devices of a mesh: there is one compiled program a picture size. Records
come out in their order.
"""

import collections
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

BATCH = 256  # chunks
_WINDOW_BATCHES, _WINDOW_BYTES = 4, 2**28  # pixels that are held to be sorted by size
_AHEAD = 8  # clips that are decoded ahead

type Video = NDArray[np.uint8]
type Latents = NDArray[np.float16]
type Report = Callable[[str], None]


class LatentEncoder:
    """The autoencoder of a model on all devices of a mesh; `params` are those of the VAE.

    `batch_size` counts chunks: that many are encoded at once.
    """

    def __init__(
        self, model: ModelConfig, params: Params, mesh: meshes.Mesh, *, batch_size: int = BATCH
    ):
        shards = meshes.num_batch_shards(mesh)
        if batch_size < 1 or batch_size % shards:
            raise UsageError(
                f"a batch of {batch_size} chunks does not divide over {shards} devices; use a "
                "multiple"
            )
        self.batch_size = batch_size
        self.cell = CHUNK_FRAMES, model.vae.spatial, model.vae.spatial
        """Frames, rows and columns of pixels in a latent."""
        self._rows = meshes.batch_sharding(mesh)
        self._params = jax.device_put(params, meshes.replicated(mesh))
        self._encode = jax.jit(
            functools.partial(_encode, model=model),
            in_shardings=(meshes.replicated(mesh), self._rows),
            out_shardings=self._rows,
        )

    def __call__(self, videos: Sequence[Video]) -> list[Latents]:
        """Latents n h w C of each clip T H W 3, all of one picture size; sides divide by `cell`."""
        chunks = np.concatenate([v.reshape(-1, CHUNK_FRAMES, *v.shape[1:]) for v in videos])
        parts = []
        for start in range(0, len(chunks), self.batch_size):
            part = chunks[start : start + self.batch_size]
            # Copies fill up the last batch, so that one program serves all.
            padded = part[np.minimum(np.arange(self.batch_size), len(part) - 1)]
            # Virtual devices of a CPU share the threads that copy: wait until the batch is there.
            placed = jax.block_until_ready(jax.device_put(padded, self._rows))
            found = self._encode(self._params, placed)
            parts.append(np.asarray(found, np.float16)[: len(part), 0])
        ends = np.cumsum([len(video) // CHUNK_FRAMES for video in videos])
        return np.split(np.concatenate(parts), ends[:-1])


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
    window: list[tuple[VideoRecord, Video]] = []
    chunks = size = 0
    for record, video in _read_all(source, encoder.cell):
        if video is None:
            if report is not None:
                report(
                    f"left out {record.id}: {record.num_frames} frames of {record.width}x"
                    f"{record.height} are less than one latent"
                )
            continue
        window.append((record, video))
        chunks, size = chunks + len(video) // CHUNK_FRAMES, size + video.nbytes
        if chunks >= _WINDOW_BATCHES * encoder.batch_size or size >= _WINDOW_BYTES:
            yield from _encoded(window, encoder, with_held)
            window, chunks, size = [], 0, 0
    yield from _encoded(window, encoder, with_held)


def _encoded(
    window: Sequence[tuple[VideoRecord, Video]], encoder: LatentEncoder, with_held: bool
) -> Iterator[VideoRecord]:
    """Encode the clips of a window, size by size, and give them back in order."""
    latents: dict[int, Latents] = {}
    for size in sorted({video.shape[1:3] for _, video in window}):
        places = [i for i, (_, video) in enumerate(window) if video.shape[1:3] == size]
        videos = [window[i][1] for i in places]
        found = encoder(videos)
        if with_held:
            held = encoder([hold_first(video) for video in videos])
            found = [np.concatenate(pair) for pair in zip(found, held, strict=True)]
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


def _read_all(
    source: Source[VideoRecord], cell: tuple[int, int, int]
) -> Iterator[tuple[VideoRecord, Video | None]]:
    """Every record with its pixels, in order; two threads decode a few clips ahead."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for i in range(len(source)):
            waiting.append(pool.submit(_read, source, cell, i))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
