"""A checkpoint comes back as it was, or the one before does; a full disk costs one save."""

import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import RunError, UsageError
from sora_jax.sharding import mesh as meshes
from sora_jax.train import checkpoint
from sora_jax.train.checkpoint import Checkpoints, Position


def state(scale: float = 1.0) -> dict:
    key = jax.random.key(0)
    return {
        "params": {"w": scale * jax.random.normal(key, (64, 48))},
        "half": jnp.full((8,), scale, jnp.bfloat16),
        "step": jnp.int32(scale),
    }


@pytest.fixture
def whole():
    mesh = meshes.make_mesh(meshes.MeshConfig(), jax.devices()[:1])
    return jax.tree.map(lambda _: meshes.replicated(mesh), state())


@pytest.fixture
def saved(tmp_path):
    """Steps 1 and 2, on disk."""
    store = Checkpoints(tmp_path / "c")
    for step in (1, 2):
        store.save(step, state(step), Position(10 * step, step / 4))
        store.wait()
    store.close()
    return tmp_path / "c"


def data_files(step_dir):
    """What holds array data or says where it lies, largest first."""
    found = [path for path in (step_dir / "state").rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: -path.stat().st_size)


def restored(directory, whole):
    abstract = jax.eval_shape(state)
    return Checkpoints(directory).restore(abstract, whole)


def test_the_newest_comes_back_whole(saved, whole):
    found, position = restored(saved, whole)
    assert position == Position(20, 0.5)
    jax.tree.map(np.testing.assert_array_equal, found, state(2))


@pytest.mark.parametrize("bit", range(0, 2000, 211))
def test_a_flipped_bit_is_never_taken_for_the_state(saved, whole, bit, caplog):
    """Wherever it is in the data: the state is the right one of step 2, or that of step 1."""
    file = data_files(saved / "2")[0]
    raw = bytearray(file.read_bytes())
    place = bit * 8 * len(raw) // 2000
    raw[place // 8] ^= 1 << (place % 8)
    file.write_bytes(raw)
    found, position = restored(saved, whole)
    scale = position.next_batch // 10
    jax.tree.map(np.testing.assert_array_equal, found, state(scale))
    if scale == 1:
        assert (saved / "2.damaged").is_dir()
        assert "step 2" in caplog.text


@pytest.mark.parametrize("damage", ["emptied", "cut", "removed"])
def test_a_damaged_file_sends_the_run_one_step_back(saved, whole, damage, caplog):
    file = data_files(saved / "2")[0]
    raw = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(raw[: len(raw) // 2] if damage == "cut" else b"")
    found, position = restored(saved, whole)
    assert position.next_batch == 10
    jax.tree.map(np.testing.assert_array_equal, found, state(1))
    assert "set aside a damaged checkpoint, step 2: " in caplog.text


def test_a_damaged_record_is_noticed(saved, whole):
    file = next((saved / "2" / "record").rglob("metadata"))
    file.write_text(file.read_text().replace('"next_batch": 20', '"next_batch": 21'))
    assert restored(saved, whole)[1].next_batch == 10


def test_nothing_good_is_one_error_with_every_cause(saved, whole):
    for step in ("1", "2"):
        shutil.rmtree(saved / step / "state")
    with pytest.raises(RunError, match=r"no checkpoint in .* is good \(step 2: .*; step 1: "):
        restored(saved, whole)


def test_another_model_is_a_mistake_not_damage(saved, whole):
    """Shapes and dtypes are named; nothing is cast, nothing is set aside."""
    wider = jax.eval_shape(lambda: state() | {"params": {"w": jnp.zeros((64, 50))}})
    with pytest.raises(UsageError, match=r"params\.w is float32\(64, 48\) there and .*\(64, 50\)"):
        Checkpoints(saved).restore(wider, whole)
    other = jax.eval_shape(lambda: state() | {"half": jnp.zeros(8)})
    with pytest.raises(UsageError, match="half is bfloat16"):
        Checkpoints(saved).restore(other, whole)
    missing = {name: leaf for name, leaf in jax.eval_shape(state).items() if name != "step"}
    with pytest.raises(UsageError, match="step is int32.* absent"):
        Checkpoints(saved).restore(missing, {k: v for k, v in whole.items() if k != "step"})
    assert not list(saved.glob("*.damaged"))


def test_a_full_disk_costs_one_save(saved, monkeypatch, caplog):
    """The run goes on; the next save, with room again, is written; what was there is untouched."""
    store = Checkpoints(saved)
    usage = shutil.disk_usage(saved)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        store.save(3, state(3), Position(30, 0.75))
        assert "1,000 are free" in caplog.text
        with pytest.raises(RunError, match="checkpoint 3 .* was not written"):
            store.wait()
    assert store.latest == 2
    store.save(4, state(4), Position(40, 1.0))
    store.wait()
    assert store.latest == 4


def test_a_write_that_fails_half_way_costs_one_save(saved, monkeypatch, caplog):
    """The error of a background write shows at the next save, which must not be lost with it."""
    store = Checkpoints(saved)
    manager = store._manager
    calls = []

    def broken(step, **_):
        calls.append(step)
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(manager, "save", broken)
    store.save(3, state(3), Position(30, 0.75))
    store.wait()
    assert calls == [3]
    assert store.latest == 3
    assert "No space left on device" in caplog.text
