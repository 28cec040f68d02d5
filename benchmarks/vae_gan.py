"""The variants of `experiments/vae/gan.py` on clips of a film, beside each other.

    python -m benchmarks.vae_gan FILM OUT [VARIANT ...]

Trains each variant in OUT/VARIANT, going on where it stopped, and writes OUT/report.json: PSNR,
gradient energy in shares of the source's (1 is as sharp), the distance to the features that the
perceptual term uses, and steps a second. Clips are those of `make vae-film` in the directory FILM
(`benchmarks/film_clips.py`), 8 frames of each; 96 held-out ones are judged. OUT/VARIANT/sheet.png
shows frames of them above their reconstructions.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import film_clips  # noqa: E402
from sora_jax import config, media  # noqa: E402
from sora_jax.cli.experiment import ExperimentConfig, VAEPart  # noqa: E402
from sora_jax.errors import UsageError  # noqa: E402
from sora_jax.eval import reconstruction  # noqa: E402
from sora_jax.export import features  # noqa: E402
from sora_jax.generate.codec import Codec  # noqa: E402
from sora_jax.models.vae import perceptual  # noqa: E402
from sora_jax.sharding import mesh as meshes  # noqa: E402
from sora_jax.train import vae_run, writers  # noqa: E402

VARIANTS = ("plain", "adversarial", "perceptual", "both")
FRAMES = 8
JUDGED, SHOWN = 96, 4  # clips


def main(arguments: list[str]) -> int:
    """Train what is not trained yet and print the report."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return UsageError.exit_code
    film, out, *names = arguments
    print(json.dumps(run(Path(film), Path(out), names or list(VARIANTS)), indent=1))
    return 0


def run(film: Path, out: Path, names: list[str]) -> dict[str, Any]:
    """The report, which is written beside the variants' directories."""
    film_clips.prepare(film, lambda line: print(line, file=sys.stderr))
    videos, heldout = (
        film_clips.load(film / "clips", split, most)[:, :FRAMES]
        for split, most in (("train", None), ("heldout", JUDGED))
    )
    path = out / "report.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        part = config.resolve(ExperimentConfig, config.load(f"experiments/vae/gan:{name}")).vae
        trained = train(part, videos, heldout, out / name)
        codec = Codec(part.model, trained.stats, trained.params)
        rebuilt = codec.decode(codec.encode(heldout))
        report[name] = judge(heldout, rebuilt) | {
            "steps": part.loop.steps,
            "linear_psnr": trained.linear_psnr,
            "steps_per_second": trained.steps_per_second,
        }
        path.write_text(json.dumps(report, indent=1) + "\n")
        rows = [
            np.concatenate(list(x[:: JUDGED // SHOWN, FRAMES // 2]), 1) for x in (heldout, rebuilt)
        ]
        media.write_png(out / name / "sheet.png", np.concatenate(rows).repeat(3, 0).repeat(3, 1))
    return report


def train(
    part: VAEPart, videos: NDArray[np.uint8], heldout: NDArray[np.uint8], workdir: Path
) -> vae_run.TrainedVAE:
    """One variant, on all devices of this machine."""
    cfg = vae_run.VAETraining(
        vae=part.model, loss=part.loss, optimizer=part.optimizer, loop=part.loop
    )
    return vae_run.train_vae(
        cfg,
        videos,
        heldout,
        workdir=workdir,
        mesh=meshes.make_mesh(meshes.MeshConfig()),
        writers=lambda progress: [writers.JsonLines(workdir / "metrics.jsonl")],
    )


def judge(source: NDArray[np.uint8], other: NDArray[np.uint8]) -> dict[str, float]:
    """PSNR in dB, gradient energy as a share of the source's, distance to EfficientNet-lite0."""
    frozen = features.load("efficientnet_lite0")
    far = jax.jit(lambda a, b: perceptual.distance("efficientnet_lite0", frozen, a, b))
    middle = [x[:, FRAMES // 2].astype(np.float32) / 127.5 - 1 for x in (source, other)]
    energy = [reconstruction.gradient_energy(x) for x in (source, other)]
    return {
        "psnr": reconstruction.psnr(source, other),
        "gradient_energy": energy[1] / energy[0],
        "efficientnet_lite0_distance": float(np.mean(far(*middle))),
        "clips": len(source),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
