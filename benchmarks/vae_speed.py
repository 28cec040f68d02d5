"""Encoding and decoding on this CPU against PyTorch: the same network and weights, in one run.

    python -m benchmarks.vae_speed --torch PATH_OF_ITS_PYTHON

The network is the preset f8t4c16 with a quarter of its widths, in float32; the video has 64 frames
of 128x128. Ours and PyTorch take turns; the medians are compared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from sora_jax.export.bundle import flatten  # noqa: E402
from sora_jax.models import network  # noqa: E402
from sora_jax.models.presets import vae_preset  # noqa: E402
from sora_jax.models.vae.vae import VAE, VAEConfig  # noqa: E402

SHAPE = 64, 128, 128, 3
ROUNDS = 3


def measure(python: str, seconds: float = 10.0) -> dict[str, Any]:
    """Ratios of our time to PyTorch's (below 1: we are faster), and the times."""
    wide = vae_preset("f8t4c16")
    cfg = VAEConfig(**wide | {"widths": tuple(w // 4 for w in wide["widths"]), "dtype": "float32"})
    params = network.init(VAE, cfg, jax.random.key(0))
    video = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)

    @jax.jit
    def there_and_back(params: Any, video: Any) -> Any:
        vae = network.module(VAE, cfg, params)
        return vae.decoder(vae.encoder(video[None]))[0]

    ours = np.asarray(there_and_back(params, video))
    times: dict[str, list[float]] = {"sora_jax": [], "eager": [], "compile": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vae.npz"
        arrays: dict[str, Any] = {k: np.asarray(value) for k, value in flatten(params).items()}
        arrays |= {"_video": video, "_ours": ours, "_sizes": (cfg.patch, cfg.codec_size)}
        np.savez(path, **arrays)
        for _ in range(ROUNDS):
            times["sora_jax"].append(_seconds(there_and_back, (params, video), seconds))
            script = Path(__file__).with_name("vae_torch.py")
            command = [python, str(script), str(path), str(seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            difference = found.pop("max_difference")
            if difference > 1e-3:
                raise AssertionError(f"PyTorch's network is another: it differs by {difference}")
            for name, value in found.items():
                times[name].append(value)
    taken = {name: statistics.median(values) for name, values in times.items()}
    return {
        "speed_ratio_torch_eager": taken["sora_jax"] / taken["eager"],
        "speed_ratio_torch_compile": taken["sora_jax"] / taken["compile"],
        "speed_seconds": taken,
        "speed_max_difference": difference,
    }


def _seconds(function: Any, args: tuple, seconds: float) -> float:
    """Median seconds of a call."""
    jax.block_until_ready(function(*args))
    found: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(found) < 5:
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="a Python that has PyTorch")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    args = parser.parse_args()
    print(json.dumps(measure(args.torch, args.seconds), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
