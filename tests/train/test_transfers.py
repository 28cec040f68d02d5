"""The loop reads nothing back from the devices but what it asks for. If these fail, steps wait."""

import jax
import pytest

from sora_jax.sharding.mesh import MeshConfig, make_mesh
from sora_jax.train import dit_run, loop, runner
from tests.train.helpers import TOKENIZER, tiny_clips, tiny_training


def fit(workdir, evaluate=None):
    """On eight devices: what one CPU device holds is the host's already."""
    cfg = tiny_training(steps=4, batch_size=8, log_every=2, eval_every=2, checkpoint_every=2)
    return runner.run(
        dit_run.plan(cfg),
        dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0),
        workdir=workdir,
        mesh=make_mesh(MeshConfig()),
        writers=lambda progress: [],
        hooks=loop.Hooks(evaluate=evaluate),
    )


def test_training_saving_and_logging_make_no_hidden_transfer(tmp_path):
    with jax.transfer_guard_device_to_host("disallow"):
        assert fit(tmp_path).steps == 4


def test_a_hidden_transfer_would_be_seen(tmp_path):
    """The control: a hook that reads a parameter without saying so."""

    def peek(state):
        return {"first": float(jax.tree.leaves(state.params)[0].ravel()[0])}

    with (
        jax.transfer_guard_device_to_host("disallow"),
        pytest.raises(Exception, match=r"[Dd]isallowed device-to-host transfer"),
    ):
        fit(tmp_path, peek)
