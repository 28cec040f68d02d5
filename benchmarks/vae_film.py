"""`make vae-film`: an autoencoder on a real film against the best linear codec.

Fetches and cuts the clips, trains `experiments/vae/film.py` (the same command goes on after a
stop), measures, and writes runs/vae_film/report.json and film.png: source, reconstruction, error.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import cv2  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import film_clips, vae_speed  # noqa: E402
from sora_jax import files, media, sheets  # noqa: E402
from sora_jax.eval import reconstruction  # noqa: E402
from sora_jax.eval.showcase import show_reconstructions  # noqa: E402
from sora_jax.export.bundle import VAEBundle, open_vae  # noqa: E402
from sora_jax.generate.codec import Codec  # noqa: E402
from sora_jax.models.vae import linear, stream, tiling  # noqa: E402
from sora_jax.models.vae.vae import fold, unfold  # noqa: E402
from sora_jax.train import vae_run  # noqa: E402

RUN = Path("runs/vae_film")
MAX_MINUTES, MIN_GAIN = 30.0, 3.0
TILE, TILED_SIZE, TILED_FRAMES = 64, 256, 4
TILED_CLIPS = 48  # spread evenly over the film: of a few, the pictures' own edges decide the slope
SEAM = 1.05  # most of the slope at tile borders, over that elsewhere
FITTED = 1024  # clips that a linear codec is fitted on, of all training clips of its scale
BARS = {  # name: least, most
    "stream_max_abs_error": (None, 1e-5),
    "stream_memory_ratio": (None, 1.3),
    "tiled_psnr": (45.0, None),
    "tiled_seam": (None, SEAM),
    "speed_ratio_torch_eager": (None, 1.0),
    "speed_ratio_torch_compile": (None, 1.0),
    "minutes": (None, MAX_MINUTES),
}

type Videos = NDArray[np.uint8]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="a Python that has PyTorch; without it no speed")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak))
        return 0
    problems = film_clips.prepare(RUN, tell)
    command = ["train", "--config", "vae/film", "--workdir", str(RUN / "run")]
    subprocess.run([sys.executable, "-m", "sora_jax.cli.main", *command], check=True)
    bundle = open_vae(RUN / "run")
    minutes = json.loads((RUN / "run" / "minutes.json").read_text())["vae"]
    figures = qualities(bundle) | streamed(bundle) | tiled(bundle)
    if args.torch:
        figures |= vae_speed.measure(args.torch)
    figures["minutes"] = round(minutes, 2)
    files.write_text(RUN / "report.json", json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    missed = [f"not fetched: {problem}" for problem in problems] + failures(figures)
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    print(f"{RUN / 'report.json'} and {RUN / 'film.png'} are written")
    return 5 if missed else 0


def failures(figures: dict[str, Any]) -> list[str]:
    """What is not as it must be, in words."""
    found = []
    for size in (64, 128):
        gain = figures[f"psnr_{size}"] - figures[f"linear_psnr_{size}"]
        if gain < MIN_GAIN:
            found.append(f"{gain:.2f} dB over the linear codec at {size}; must be {MIN_GAIN:g}")
    for name, (least, most) in BARS.items():
        value = figures.get(name)
        if value is None:
            found.append(f"{name} was not measured")
        elif (least is not None and value < least) or (most is not None and value > most):
            found.append(f"{name} is {value:.4g}; must be {least or ''} to {most or ''}")
    return found


def qualities(bundle: VAEBundle) -> dict[str, float]:
    """PSNR on held-out clips at both sizes, of the autoencoder and of the best linear codec.

    A linear codec is fitted for each size, on the training clips of that scale.
    """
    codec = Codec.of(bundle)
    crops = film_clips.load(RUN / "clips", "train")
    scales = np.arange(len(crops)) // film_clips.CROPS % 2  # full and half, each CROPS in a row
    heldout = {
        64: film_clips.load(RUN / "clips", "heldout"),
        128: film_clips.load(RUN / "clips_128", "train"),
    }
    found: dict[str, float] = {"compression": bundle.vae.patch_values / bundle.vae.channels}
    for size, videos in heldout.items():
        rebuilt = codec.decode(codec.encode(videos))
        found[f"psnr_{size}"] = reconstruction.psnr(videos, rebuilt)
        alike = crops[scales == (size == 64)]
        best = linear_codec(vae_run.spread(alike, FITTED), bundle)
        linear_ones = linearly(best, videos, bundle)
        found[f"linear_psnr_{size}"] = reconstruction.psnr(videos, linear_ones)
        for name, made in (("psnr", rebuilt), ("linear_psnr", linear_ones)):
            each = reconstruction.psnr_each(videos, made)
            found[f"{name}_{size}_clip_mean"] = float(np.mean(each))
        if size == 128:
            show(videos, rebuilt)
    return found


def show(videos: Videos, rebuilt: Videos) -> None:
    """film.png: six clips; row.png: the middle frame of the clip of median PSNR."""
    shown = np.linspace(0, len(videos) - 1, 6).astype(int)
    names = tuple(f"held-out clip {i}" for i in shown)
    examples = show_reconstructions(names, videos[shown], rebuilt[shown], count=len(shown))
    sheet = sheets.contact_sheet([e.video for e in examples], [e.prompt for e in examples])
    media.write_png(RUN / "film.png", sheet)
    order = np.argsort(reconstruction.psnr_each(videos, rebuilt))
    median = int(order[len(order) // 2])
    source, other = (x[median : median + 1] for x in (videos, rebuilt))
    (strip,) = show_reconstructions(("",), source, other, count=1)
    media.write_png(RUN / "row.png", strip.video[film_clips.FRAMES // 2].repeat(2, 0).repeat(2, 1))
    print(f"row.png: held-out clip {median}, {strip.notes[0]}", file=sys.stderr)


def linear_codec(videos: Videos, bundle: VAEBundle) -> linear.LinearCodec:
    """Principal components of the patches that a latent stands for."""
    return linear.fit(np.asarray(fold(as_float(videos), bundle.vae.spatial)), bundle.vae.channels)


def linearly(codec: linear.LinearCodec, videos: Videos, bundle: VAEBundle) -> Videos:
    """What the linear codec makes of videos, as 8-bit frames."""
    parts = []
    for start in range(0, len(videos), 16):
        folded = np.asarray(fold(as_float(videos[start : start + 16]), bundle.vae.spatial))
        video = np.asarray(unfold(jnp.asarray(codec.reconstruct(folded)), bundle.vae.spatial))
        parts.append(np.clip((video + 1) * 127.5, 0, 255).round().astype(np.uint8))
    return np.concatenate(parts)


def streamed(bundle: VAEBundle) -> dict[str, float]:
    """Largest difference of a video in pieces from the whole, and what a longer one costs."""
    clips = film_clips.load(RUN / "clips_128", "train", 8)
    video = as_float(clips.reshape(1, -1, *clips.shape[2:]))  # 128 frames, with cuts in them
    whole = {name: np.asarray(value) for name, value in _there_and_back(bundle, video, 32).items()}
    worst = 0.0
    for chunks in (1, 2, 4, 8, 16):
        for name, value in _there_and_back(bundle, video, chunks).items():
            worst = max(worst, float(np.abs(np.asarray(value) - whole[name]).max()))
    command = [sys.executable, "-m", "benchmarks.vae_film", "--peak"]
    peaks = [
        int(subprocess.run([*command, str(n)], check=True, capture_output=True, text=True).stdout)
        for n in (64, 4)
    ]
    return {"stream_max_abs_error": worst, "stream_memory_ratio": peaks[0] / peaks[1]}


def _there_and_back(bundle: VAEBundle, video: Any, chunks: int) -> dict[str, Any]:
    """Latents and reconstruction of a video, `chunks` chunks at a time, in float32."""
    cfg = dataclasses.replace(bundle.vae, dtype="float32")
    height, width = video.shape[2:4]
    there = back = stream.init_cache(cfg, len(video), height, width)
    latents, frames = [], []
    for start in range(0, video.shape[1], 4 * chunks):
        piece, there = stream.encode_chunks(
            cfg, bundle.params, there, video[:, start : start + 4 * chunks]
        )
        seen, back = stream.decode_chunks(cfg, bundle.params, back, piece)
        latents.append(piece)
        frames.append(seen)
    return {"latents": jnp.concatenate(latents, 1), "video": jnp.concatenate(frames, 1)}


def peak(chunks: int) -> int:
    """Peak memory in kB of this process once it has decoded so many chunks of 256x256."""
    import resource

    bundle = open_vae(RUN / "run")
    side = TILED_SIZE // bundle.vae.spatial
    one = np.zeros((1, 1, side, side, bundle.vae.channels), np.float32)
    pieces = (one for _ in range(chunks))
    for _ in stream.decode_stream(bundle.vae, bundle.params, pieces):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def tiled(bundle: VAEBundle) -> dict[str, float]:
    """Clips of four times the training size, by tiles of that size against the whole.

    tiled_psnr: of the two reconstructions. tiled_seam: mean slope across the columns at which tiles
    begin or end, over that across all others; tiled_seam_whole: the same of the whole
    reconstruction, which has no tiles. Tiles begin where latents do: tiled_seam_of_latents takes
    for others the columns alone at which a latent begins and no tile.
    """
    cfg, params = bundle.vae, bundle.params
    cache = stream.init_cache(cfg, 1, TILED_SIZE, TILED_SIZE)
    errors, both = [], []
    for clip in large_clips():
        video = as_float(clip[None])
        latents, _ = stream.encode_chunks(cfg, params, cache, video)
        whole, _ = stream.decode_chunks(cfg, params, cache, latents)
        parts = tiling.encode_tiled(cfg, params, video, tile=TILE, overlap=0.25)
        rebuilt = tiling.decode_tiled(cfg, params, parts, tile=TILE, overlap=0.25)
        errors.append(float(jnp.mean(jnp.square(whole - rebuilt))))
        both.append((np.asarray(rebuilt), np.asarray(whole)))
    tiles, wholes = (np.concatenate(videos) for videos in zip(*both, strict=True))
    return {
        "tiled_psnr": float(10 * np.log10(4 / np.mean(errors))),
        "tiled_seam": seam(tiles, cfg.spatial),
        "tiled_seam_whole": seam(wholes, cfg.spatial),
        "tiled_seam_of_latents": seam(tiles, cfg.spatial, every=cfg.spatial),
    }


def large_clips() -> Videos:
    """TILED_CLIPS clips of the film, N T H W 3, each the square in the middle."""
    path = RUN / "samples" / film_clips.FILM
    count = sum(1 for _ in media.stream_frames(path))
    starts = np.linspace(0, count - TILED_FRAMES, TILED_CLIPS).astype(int)
    wanted = {int(start) + i for start in starts for i in range(TILED_FRAMES)}
    frames = []
    for i, frame in enumerate(media.stream_frames(path)):
        if i in wanted:
            width = round(frame.shape[1] * TILED_SIZE / frame.shape[0])
            small = cv2.resize(frame, (width, TILED_SIZE), interpolation=cv2.INTER_AREA)
            frames.append(small.astype(np.uint8))
    squares = film_clips.centre(np.stack(frames), TILED_SIZE)
    return squares.reshape(TILED_CLIPS, TILED_FRAMES, *squares.shape[1:])


def seam(video: NDArray, unit: int, every: int = 1) -> float:
    """Mean slope across the columns at tile borders, over that across each `every`th of the others.

    `unit` is the side of a latent in pixels.
    """
    cells = TILE // unit
    borders = {
        unit * place
        for start in tiling.starts(TILED_SIZE // unit, cells, 0.25)
        for place in (start, start + cells)
    } - {0, TILED_SIZE}
    others = set(range(every, TILED_SIZE, every)) - borders
    slope = np.abs(np.diff(video, axis=3)).mean((0, 1, 2, 4))  # [x]: from column x to the next
    here, elsewhere = (slope[np.array(sorted(columns)) - 1].mean() for columns in (borders, others))
    return float(here / elsewhere)


def as_float(videos: Videos) -> Any:
    return jnp.asarray(videos, jnp.float32) / 127.5 - 1


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
