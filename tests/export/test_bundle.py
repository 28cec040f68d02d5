"""If these fail, what was trained is not what is sampled, or a damaged model is used unnoticed."""

import errno
import json
import pathlib

import jax
import numpy as np
import pytest

from sora_jax.errors import LimitError, RunError, UsageError
from sora_jax.export import bundle
from sora_jax.export.bundle import CONTENT, MANIFEST, open_model
from tests.tiny_model import tiny_parts, write_tiny


@pytest.fixture
def directory(tmp_path):
    return write_tiny(tmp_path / "model")


def test_everything_comes_back(tmp_path):
    parts = tiny_parts()
    opened = open_model(write_tiny(tmp_path / "model", dtype="float32"))
    assert opened.model == parts["model"] and opened.sampling == parts["sampling"]
    assert opened.tokenizer.to_json() == parts["tokenizer"].to_json()
    jax.tree.map(np.testing.assert_array_equal, opened.params, parts["params"])
    assert {path.name for path in opened.path.iterdir()} == {*CONTENT, MANIFEST}


def test_half_precision_keeps_three_digits_at_half_the_size(tmp_path):
    full = write_tiny(tmp_path / "full", dtype="float32")
    half = write_tiny(tmp_path / "half", dtype="float16")
    sizes = [(path / "dit.safetensors").stat().st_size for path in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]

    def check(a, b):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)

    jax.tree.map(check, open_model(full).params, open_model(half).params)


def test_the_digest_names_the_content(tmp_path):
    paths = [write_tiny(tmp_path / str(i), card=card) for i, card in enumerate("aab")]
    digests = [open_model(path).digest for path in paths]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", CONTENT)
def test_one_changed_byte_is_found_and_its_file_named(directory, name):
    body = bytearray((directory / name).read_bytes())
    body[len(body) // 2] ^= 1
    (directory / name).write_bytes(body)
    with pytest.raises(UsageError, match=name):
        open_model(directory)


def test_a_missing_file_is_named(directory):
    (directory / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="tokenizer.json is missing"):
        open_model(directory)


def test_weights_of_another_network_are_refused(tmp_path):
    params = tiny_parts()["params"]
    del params["dit"]["dit"]["output"]
    with pytest.raises(UsageError, match="dit.output.*None"):
        open_model(write_tiny(tmp_path / "model", params=params))


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path):
    params = tiny_parts()["params"]
    params["dit"]["dit"]["output"]["kernel"][0, 0] = 1e6
    with pytest.raises(LimitError, match="dit.output.kernel.*float32"):
        write_tiny(tmp_path / "model", params=params)
    assert not list(tmp_path.iterdir())


def test_a_newer_format_is_refused(directory):
    path = directory / "config.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"]["config.json"] = bundle._entry(path.read_bytes())
    (directory / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="format 3"):
        open_model(directory)


def test_a_new_bundle_takes_the_place_of_the_old(tmp_path, directory):
    old = open_model(directory).digest
    write_tiny(directory, card="# Newer\n")
    assert open_model(directory).digest != old
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # nothing is left over


def test_a_full_disk_leaves_the_old_bundle_whole(tmp_path, directory, monkeypatch):
    old = open_model(directory).digest
    write_bytes = pathlib.Path.write_bytes

    def fill_up(path, body):
        if path.name == "dit.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, body)

    monkeypatch.setattr(pathlib.Path, "write_bytes", fill_up)
    with pytest.raises(RunError, match="no space"):
        write_tiny(directory, card="# Newer\n")
    assert open_model(directory).digest == old
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_other_peoples_directories_are_not_replaced(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="no bundle"):
        write_tiny(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_run_directory_stands_for_its_bundle(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UsageError, match="no checkpoint.*sora-jax train"):
        open_model(tmp_path / "run")
    write_tiny(tmp_path / "run" / "bundle")
    assert open_model(tmp_path / "run").path == tmp_path / "run" / "bundle"


def test_a_name_that_is_nothing_lists_what_there_is(tmp_path):
    with pytest.raises(UsageError, match="nothing; name a run directory.*toyworld"):
        open_model(tmp_path / "nothing")
