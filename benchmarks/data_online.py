"""The online data path in figures: planning, packing, reading, memory.

    python -m benchmarks.data_online [--json]

Takes about three minutes on two cores and needs no file. All clips a second are ratios of one run,
since machines and their neighbours differ; rounds of what is compared take turns.
"""

import argparse
import io
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import jax
import numpy as np
from numpy.typing import NDArray

from data_pipelines import shards
from sora_jax import media
from sora_jax.data import meter, records
from sora_jax.data.fill import PackedRows
from sora_jax.data.loader import Reading
from sora_jax.data.mixture import Shards
from sora_jax.data.packing import RowSize
from sora_jax.data.pixels import PixelConfig, PixelData
from sora_jax.data.plan import Part, Plan
from sora_jax.data.rows import PlannedBatches
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.data.views import View
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae.vae import VAEConfig
from sora_jax.sharding.mesh import MeshConfig, make_mesh
from sora_jax.train import dit_run
from sora_jax.train.dit_run import DiTTraining, Rows
from sora_jax.train.loop import LoopConfig
from sora_jax.train.objectives import DiffusionConfig
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.packed import PackedData, PackingConfig

ROW = RowSize(tokens=4096, frames=64, text=0, clips=16)
# Pixel frames, height and width of the mixture; a token is 4 x 8 x 8 pixels.
SHAPES = (
    (1, 128, 128), (1, 96, 160), (1, 160, 96), (1, 256, 256), (4, 128, 128), (8, 96, 160),
    (16, 160, 96), (24, 128, 96), (32, 96, 128), (33, 128, 128), (48, 128, 128), (64, 96, 160),
    (64, 160, 96), (64, 64, 64),
)  # fmt: skip
MIXTURE = 2000  # clips
SPEED_CLIPS = 64  # of 33 x 128 x 128
ROUNDS = 5
ROUND_SECONDS = 2.0
LEAK_CLIPS = 20_000  # of 16 x 64 x 64
PLANNED = 10_000_000
ONE_THREAD, TWO_THREADS = Reading(), Reading(threads=2)

type Batches = PlannedBatches | Rows


def measure(tell: Callable[[str], object] = lambda line: None) -> dict[str, float]:
    """All figures of this module, by the names that reports give them."""
    figures: dict[str, float] = {}
    for part in (_packing, _planner, _compiles, _speed, _leak):
        found = part()
        tell(", ".join(f"{name} {value:.4g}" for name, value in found.items()))
        figures |= found
    return figures


def _packing() -> dict[str, float]:
    """Padding of rows of 4096 tokens on the mixture; every clip must come once."""
    plan = Plan([Part(name="mixture", grids=[_grids(MIXTURE)])], PackedRows(ROW), seed=0)
    numbers = plan.numbers(0, plan.epoch_start(1))
    assert np.array_equal(np.sort(numbers[numbers >= 0]), np.arange(MIXTURE)), "a clip is starved"
    return {"padding_share": plan.padding_share}


def _planner() -> dict[str, float]:
    """Seconds and peak memory, in a process of its own, until the first batch is planned."""
    seconds, gib = _alone(_plan_many, PLANNED)
    return {"planner_seconds_10m": seconds, "planner_gib_10m": gib}


def _plan_many(count: int) -> tuple[float, float]:
    grids = _grids(count)
    begin = time.perf_counter()
    plan = Plan([Part(name="many", grids=[grids])], PackedRows(ROW), seed=0)
    plan.numbers(0, 64)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.perf_counter() - begin, peak / 2**20


def _compiles() -> dict[str, float]:
    """Programs of the train step over batches of the mixture, rows of 4096 tokens."""
    return {"compiles": _alone(_train, 6)}


def _train(steps: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "shards"
        made = (_latents(i, SHAPES[i % len(SHAPES)], channels=4) for i in range(84))
        shards.write(directory, {"train": made})
        training, packed = _packed_data(directory, channels=4, batch_size=1, steps=steps)
        rows = packed.batches()
        result = dit_run.train_dit(
            training,
            rows,
            [rows[0]],
            workdir=Path(folder) / "run",
            mesh=make_mesh(MeshConfig(), jax.devices()[:1]),
            writers=lambda _: [],
        )
        rows.close()
    return result.compiles


def _packed_data(
    directory: Path,
    *,
    channels: int,
    batch_size: int,
    steps: int = 1,
    reading: Reading = ONE_THREAD,
) -> tuple[DiTTraining, PackedData]:
    """Shards of latents as a small transformer trains on them, in rows of 4096 tokens."""
    tokenizer = Tokenizer((), max_tokens=16)
    text = TextConfig(
        width=16, depth=1, num_heads=1, vocab_size=tokenizer.vocab_size, max_tokens=16
    )
    model = ModelConfig(
        vae=VAEConfig(channels=channels, patch=4, widths=(8, 8), blocks=1),
        dit=DiTConfig(width=16, depth=1, num_heads=1, dtype="float32"),
        text=text,
        latents=LatentStats.identity(channels),
    )
    training = DiTTraining(
        model=model,
        diffusion=DiffusionConfig(),
        optimizer=OptimizerConfig(warmup=2),
        loop=LoopConfig(steps=steps, batch_size=batch_size, log_every=1),
    )
    packing = PackingConfig(
        row_tokens=ROW.tokens, max_clips=ROW.clips, max_frames=ROW.frames, reading=reading
    )
    return training, PackedData(training, packing, [Shards(directory=directory)], tokenizer, seed=0)


def _speed() -> dict[str, float]:
    """Clips a second of 33 x 128 x 128 as mp4 and as latents, over a plain decoding loop.

    The loader reads by two threads of one process, the plain loop is one; figures for one thread
    are given beside. Latents and mp4 are compared with as many threads each.
    """
    with tempfile.TemporaryDirectory() as folder:
        pixels, latents = Path(folder) / "pixels", Path(folder) / "latents"
        shape = 33, 128, 128
        shards.write(pixels, {"train": (_video(i, shape) for i in range(SPEED_CLIPS))})
        made = (_latents(i, (32, 128, 128), channels=16) for i in range(SPEED_CLIPS))
        shards.write(latents, {"train": made})
        source = records.open_split(pixels, "train")
        files = [source[i].video or b"" for i in range(len(source))]
        view = View(max_frames=33, max_area=128 * 128)
        contestants: dict[str, Batches] = {
            "mp4": _pixel_batches(pixels, view, ONE_THREAD),
            "mp4, two threads": _pixel_batches(pixels, view, TWO_THREADS),
            "latents": _latent_batches(latents, ONE_THREAD),
            "latents, two threads": _latent_batches(latents, TWO_THREADS),
        }
        plain = _plain(files)
        rates: dict[str, list[float]] = {name: [] for name in ("plain", *contestants)}
        for _ in range(ROUNDS):
            rates["plain"].append(_rate(plain))
            for name, batches in contestants.items():
                rates[name].append(_rate(_clips(batches)))
                batches.close()
    decode, mp4, mp4_two, latent, latent_two = map(statistics.median, rates.values())
    return {
        "plain_clips_per_second": decode,
        "mp4_over_plain_decode": mp4_two / decode,
        "mp4_over_plain_decode_one_thread": mp4 / decode,
        "latents_over_mp4": latent / mp4,
        "latents_over_mp4_two_threads": latent_two / mp4_two,
    }


def _plain(files: list[bytes]) -> Iterator[int]:
    """Decode to RGB in a loop, as the documentation of PyAV has it, with nothing around it."""
    while True:
        for content in files:
            with av.open(io.BytesIO(content)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
            yield 1


def _pixel_batches(directory: Path, view: View, reading: Reading) -> Batches:
    cfg = PixelConfig(views=(view,), batch_size=8, reading=reading)
    return PixelData(cfg, [Shards(directory=directory)], seed=0).batches(report=None)


def _latent_batches(directory: Path, reading: Reading) -> Batches:
    """Rows of two clips of 2048 tokens, four rows a batch."""
    return _packed_data(directory, channels=16, batch_size=4, reading=reading)[1].batches()


def _clips(batches: Batches) -> Iterator[int]:
    while True:
        next(batches)
        yield 8


def _rate(clips: Iterator[int]) -> float:
    """Clips a second over one round, after one that starts what reads ahead."""
    next(clips)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < ROUND_SECONDS:
        count += next(clips)
    return count / (time.perf_counter() - begin)


def _leak() -> dict[str, float]:
    """Growth of resident memory from the 1,000th decoded clip to the last."""
    return {"rss_growth": _alone(_decode_many, LEAK_CLIPS)}


def _decode_many(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "shards"
        shards.write(directory, {"train": (_video(i, (16, 64, 64)) for i in range(64))})
        view = View(max_frames=16, max_area=64 * 64)
        batches = _pixel_batches(directory, view, TWO_THREADS)
        before = 0
        for step in range(count // 8):
            next(batches)
            if step == 125:
                before = meter.rss()
        return meter.rss() / before - 1


def _alone(function: Callable[[int], Any], argument: int) -> Any:
    """The function's result from a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (argument,))


def _grids(count: int) -> NDArray[np.int16]:
    rng = np.random.default_rng(0)
    frames, height, width = np.array(SHAPES, np.int16)[rng.integers(0, len(SHAPES), count)].T
    grids = [np.maximum(frames // 4, 1), height // 8, width // 8]
    return np.stack(grids, axis=1).astype(np.int16)


def _video(number: int, shape: tuple[int, int, int]) -> VideoRecord:
    """Waves of three colours that move, with grain: about as hard to decode as film."""
    frames, height, width = shape
    t, y, x = np.ogrid[:frames, :height, :width]
    waves = [
        np.sin((x + 3 * t + 10 * number) / 17),
        np.sin((y - 2 * t) / 23 + number),
        np.sin((x + y + t) / 11),
    ]
    video = np.stack(np.broadcast_arrays(*waves), axis=-1) * 90 + 128
    video += np.random.default_rng(number).normal(0, 4, video.shape)
    content = media.encode_mp4(video.clip(0, 255).astype(np.uint8), 24.0, crf=18)
    return _record(number, shape, video=content)


def _latents(number: int, shape: tuple[int, int, int], channels: int) -> VideoRecord:
    frames, height, width = shape
    size = max(frames // 4, 1), height // 8, width // 8, channels
    values = np.random.default_rng(number).normal(size=size).astype(np.float16)
    if frames > 4:
        shape = frames // 4 * 4, height, width
    return _record(number, shape, latents=values)


def _record(number: int, shape: tuple[int, int, int], **payload: Any) -> VideoRecord:
    frames, height, width = shape
    return VideoRecord(
        id=f"clip{number}",
        captions=(Caption("a wave", 0.0, frames / 24),),
        fps=24.0,
        num_frames=frames,
        height=height,
        width=width,
        **payload,
    )


def main() -> int:
    """Measure, and say it; with --json the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(lambda line: sys.stderr.write(line + "\n"))
    if args.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
