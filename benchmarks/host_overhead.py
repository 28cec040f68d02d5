"""Host time of a training step beside the program that it starts, at 40 scanned layers.

    JAX_PLATFORMS=cpu python -m benchmarks.host_overhead [--layers 40] [--steps 300]

The transformer is so small that its program takes milliseconds. The loop's own time a step (rows
that lie ready, putting them on the device, starting the program, bookkeeping; what `runner.run`
does) less that of the bare program, called again and again with the same batch, is what the host
adds. Both are run in turn in one process, so that a machine whose speed changes within seconds
weighs on both alike; the median over the rounds of their difference counts.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sora_jax.cli import runtime

runtime.prepare()

import jax  # noqa: E402

from sora_jax.models.dit import DiTConfig  # noqa: E402
from sora_jax.sharding import mesh as meshes  # noqa: E402
from sora_jax.train import dit_run, loop, runner  # noqa: E402
from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training  # noqa: E402

ROUNDS, LIMIT = 9, 2.0  # milliseconds
# As a data set has at least: of 64, the reader's shuffle takes .5 ms a clip, of thousands .01.
CLIPS = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    cfg = tiny_training(
        steps=args.steps, batch_size=4, log_every=50, checkpoint_every=10**6, eval_every=10**6
    )
    model = dataclasses.replace(
        cfg.model, dit=DiTConfig(width=16, depth=args.layers, num_heads=2, dtype="float32")
    )
    cfg = dataclasses.replace(cfg, model=model)
    pairs = [(1e3 * of_the_loop(cfg), 1e3 * of_the_program(cfg)) for _ in range(ROUNDS)]
    added = sorted(whole - bare for whole, bare in pairs)
    whole, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"loop {whole:.2f} ms a step, program {bare:.2f} ms (medians of {ROUNDS} rounds)")
    print(f"the host adds {statistics.median(added):.2f} ms ({added[0]:.2f} to {added[-1]:.2f})")
    return 0 if statistics.median(added) < LIMIT else 5


def of_the_loop(cfg: dit_run.DiTTraining) -> float:
    """Seconds a step of a whole run, its first step and its last save apart."""
    with tempfile.TemporaryDirectory() as place:
        result = runner.run(
            dit_run.plan(cfg),
            dit_run.make_rows(cfg, tiny_clips(CLIPS), TOKENIZER, seed=0),
            workdir=Path(place),
            mesh=one_device(),
            writers=lambda progress: [],
            hooks=loop.Hooks(),
        )
    return 1 / result.steps_per_second


def of_the_program(cfg: dit_run.DiTTraining) -> float:
    """Seconds a call of the compiled step, on one batch."""
    mesh = one_device()
    built = runner.build(dit_run.plan(cfg), mesh)
    rows = dit_run.make_rows(cfg, tiny_clips(CLIPS), TOKENIZER, seed=0)
    batch, state = meshes.put_batch(mesh, rows[0]), built.fresh()
    program = built.step_fn.lower(state, batch, 0.0).compile()
    state, metrics = program(state, batch, 0.0)
    jax.block_until_ready(metrics)
    began = time.perf_counter()
    for _ in range(cfg.loop.steps):
        state, metrics = program(state, batch, 0.0)
    jax.block_until_ready(metrics)
    return (time.perf_counter() - began) / cfg.loop.steps


if __name__ == "__main__":
    sys.exit(main())
