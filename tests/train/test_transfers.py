"""The loop reads nothing back from the devices but what it asks for. If these fail, steps wait."""

import jax
import pytest
from jax._src import array

from sora_jax.sharding.mesh import MeshConfig, make_mesh
from sora_jax.train import dit_run, loop, runner
from tests.train.helpers import TOKENIZER, tiny_clips, tiny_training


def fit(workdir, steps, evaluate=None):
    """On eight devices, with nothing due before the end."""
    cfg = tiny_training(steps=steps, log_every=100, eval_every=1 if evaluate else 100)
    return runner.run(
        dit_run.plan(cfg),
        dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0),
        workdir=workdir,
        mesh=make_mesh(MeshConfig()),
        writers=lambda progress: [],
        hooks=loop.Hooks(evaluate=evaluate),
    )


@pytest.fixture
def reads(monkeypatch):
    """A list that grows with each array whose values the host takes.

    JAX's own guard lets the host take what one CPU device has whole, as no copy is made.
    """
    found = []
    value = array.ArrayImpl._value

    def counted(self):
        found.append(self.shape)
        return value.fget(self)

    monkeypatch.setattr(array.ArrayImpl, "_value", property(counted))
    return found


def test_steps_read_nothing_back(tmp_path, reads):
    """As many reads in a long run as in a short one: those of its beginning and its end."""
    counts = []
    for steps in (3, 9):
        before = len(reads)
        assert fit(tmp_path / str(steps), steps).steps == steps
        counts.append(len(reads) - before)
    assert counts[0] == counts[1] > 0


def test_a_read_in_each_step_would_be_seen(tmp_path, reads):
    """The control: a hook that looks at the step number."""
    counts = []
    for steps in (3, 9):
        before = len(reads)
        fit(tmp_path / str(steps), steps, lambda state: {"step": float(state.step)})
        counts.append(len(reads) - before)
    assert counts[1] - counts[0] == 6


def test_training_and_saving_gather_nothing_unsaid(tmp_path):
    with jax.transfer_guard_device_to_host("disallow"):
        assert fit(tmp_path, 4).steps == 4
