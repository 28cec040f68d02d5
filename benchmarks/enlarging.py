"""`make tools`, the line `upscale`: the trained upscaler against Lanczos, four times as large.

    python -m benchmarks.enlarging runs/upscaler runs/tools/report.json

Held-out scenes of the full toy world are drawn at 256x256, shrunk to 64x64 by averaging and
enlarged again. A clip is written at 2160p by the command, whose peak memory is that of its process;
what lies at the borders of tiles is held to a tile as large as the picture.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipelines.toyworld.render import render
from sora_jax import files, media, sheets
from sora_jax.data.motion import DIRECTIONS
from sora_jax.data.scene import Scene, sample_scene
from sora_jax.eval import reconstruction
from sora_jax.export.upscaler import UpscalerBundle, open_upscaler
from sora_jax.generate import upscale

CLIPS, FRAMES, SMALL, LARGE = 24, 4, 64, 256
MAX_MEMORY = 4 * 2**30  # bytes
PATCH = 96  # pixels of a picture that is enlarged in one tile and in several

type Videos = NDArray[np.uint8]  # B T H W 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("upscaler", type=Path, help="a run directory or bundle")
    parser.add_argument("report", type=Path, help="of the tools; the line is added to it")
    args = parser.parse_args()
    line = judge(open_upscaler(args.upscaler), args.upscaler, args.report.parent)
    report = json.loads(args.report.read_text()) if args.report.exists() else {}
    files.write_text(args.report, json.dumps(report | {"upscale": line}, indent=2) + "\n")
    print(f"upscale {'holds' if line['ok'] else 'does not hold'}: {args.report}")
    return 0 if line["ok"] else 5


def judge(bundle: UpscalerBundle, model: Path, out: Path) -> dict[str, Any]:
    """The line, and enlarging.png: source, Lanczos, ours."""
    large = np.stack([drawn(seed) for seed in range(CLIPS)])
    small = resized(large, SMALL, cv2.INTER_AREA)
    ours = np.stack([list(upscale.upscale(bundle, clip, (LARGE, LARGE))) for clip in small])
    lanczos = resized(small, LARGE, cv2.INTER_LANCZOS4)
    energy = {
        name: reconstruction.gradient_energy(videos)
        for name, videos in (("source", large), ("ours", ours), ("lanczos", lanczos))
    }
    rows = [video for trio in zip(large, lanczos, ours, strict=True) for video in trio]
    names = ["source", "Lanczos", "ours"] * len(large)
    media.write_png(out / "enlarging.png", sheets.contact_sheet(rows[:12], names[:12], frames=2))
    line: dict[str, Any] = {
        "psnr": reconstruction.psnr(large, ours),
        "psnr_lanczos": reconstruction.psnr(large, lanczos),
        "gradient_energy": energy,
        "seam": seam(bundle),
        "limit_seam": 1e-5,
    } | written(model, small[0], out)
    good = line["psnr"] >= line["psnr_lanczos"] and line["seam"] <= line["limit_seam"]
    good &= abs(energy["ours"] - energy["source"]) < abs(energy["lanczos"] - energy["source"])
    good &= line["memory_bytes"] < MAX_MEMORY and line["size"] == [2160, 2160]
    return {"ok": bool(good)} | line


def drawn(seed: int) -> NDArray[np.uint8]:
    """Some frames of a held-out scene of one object, four times as large."""
    scene = sample_scene("full", seed, split="heldout", kind="one")
    return render(magnified(scene, LARGE // SMALL))[:: scene.num_frames // FRAMES]


def magnified(scene: Scene, factor: int) -> Scene:
    """The same scene on so many times as many pixels."""
    objects = tuple(
        dataclasses.replace(
            item,
            x=factor * item.x,
            y=factor * item.y,
            radius=factor * item.radius,
            extent=factor * item.extent,
            rate=factor * item.rate if item.motion in DIRECTIONS else item.rate,
        )
        for item in scene.objects
    )
    return dataclasses.replace(scene, size=factor * scene.size, objects=objects)


def resized(videos: Videos, side: int, way: int) -> Videos:
    """Each frame at `side` x `side`."""
    frames = videos.reshape(-1, *videos.shape[2:])
    made = [cv2.resize(frame, (side, side), interpolation=way) for frame in frames]
    return np.stack(made).reshape(*videos.shape[:2], side, side, 3).astype(np.uint8)


def seam(bundle: UpscalerBundle) -> float:
    """Largest difference, of values in [-1, 1], of a picture in tiles from the whole."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (PATCH, PATCH, 3)).astype(np.float32)
    whole = upscale.double(bundle.cfg, bundle.params, picture, tile=PATCH)
    tiled = upscale.double(bundle.cfg, bundle.params, picture, tile=PATCH // 3)
    return float(np.abs(whole - tiled).max())


def written(model: Path, clip: NDArray[np.uint8], out: Path) -> dict[str, Any]:
    """Size of a clip that the command has enlarged to 2160p, and the memory that it took."""
    source, target = out / "small.mp4", out / "large.mp4"
    media.write_video(source, clip, 8.0)
    words = ["upscale", str(model), str(source), "--to", "2160p", "-o", str(target)]
    subprocess.run([sys.executable, "-m", "sora_jax.cli.main", *words], check=True)
    info = media.probe(target)
    # The largest of all children, of which this has been the only one.
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "size": [info.height, info.width],
        "frames": info.num_frames,
        "memory_bytes": peak,
        "limit_memory_bytes": MAX_MEMORY,
    }


if __name__ == "__main__":
    sys.exit(main())
