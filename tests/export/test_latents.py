"""LATENTS.npz: what was written comes back, and nothing else is taken for it."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.export import latents as npz
from sora_jax.export.bundle import open_vae
from tests.tiny_model import tiny_parts, write_tiny

VALUES = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_vae(write_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def path(tmp_path, bundle):
    """A file of 5 chunks of 2x3 latents of 4 channels, written in two pieces."""

    def finish():
        return npz.LatentsFile(
            fps=12.5,
            num_frames=18,
            size=(16, 20),
            model=npz.identity(bundle),
            model_digest=bundle.digest,
            video_sha256="ab",
        )

    found = npz.write(tmp_path / "x.npz", iter([VALUES[:3], VALUES[3:]]), finish)
    assert found == VALUES.shape
    return tmp_path / "x.npz"


def rewrite(path, **changes):
    """The same file with some arrays changed, or left out (None)."""
    with np.load(path) as found:
        arrays = dict(found) | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_numpy_reads_it_without_pickle(path):
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["latents"], VALUES)
        assert set(found) == set(npz.ARRAYS)
        assert found["fps"] == 12.5 and found["size"].tolist() == [16, 20]
        assert json.loads(str(found["model"]))["vae"]["channels"] == 4


@pytest.mark.parametrize("chunks", [1, 2, 5, 99])
def test_what_was_written_comes_back_in_pieces(path, bundle, chunks):
    reader = npz.LatentsReader(path)
    reader.check_model(bundle)
    assert reader.shape == VALUES.shape and reader.beside.num_frames == 18
    pieces = list(reader.pieces(chunks))
    assert [len(piece) for piece in pieces[:-1]] == [chunks] * (len(pieces) - 1)
    np.testing.assert_array_equal(np.concatenate(pieces), VALUES)


def test_what_numpy_has_written_again_is_read_too(path, bundle):
    """Compressed, in half precision, with an array more."""
    with np.load(path) as found:
        arrays = dict(found) | {"latents": VALUES.astype(np.float16), "mine": np.zeros(3)}
    np.savez_compressed(path, **arrays)
    reader = npz.LatentsReader(path)
    reader.check_model(bundle)
    np.testing.assert_allclose(np.concatenate(list(reader.pieces(2))), VALUES, rtol=1e-3)


def test_a_failure_half_way_leaves_no_file(tmp_path):
    def pieces():
        yield VALUES
        raise UsageError("the video ends")

    with pytest.raises(UsageError, match="the video ends"):
        npz.write(tmp_path / "x.npz", pieces(), lambda: None)
    assert not list(tmp_path.iterdir())


BAD = {
    "pickled objects": ({"latents": np.array([{"a": 1}], object)}, "holds pickled Python objects"),
    "a pickled rate": ({"fps": np.array(None, object)}, "fps .* holds pickled Python objects"),
    "a missing key": ({"fps": None}, "has no 'fps'.*it has format, latents.*sora-jax encode"),
    "latents of 3 dims": ({"latents": VALUES[0]}, r"latents .* float32\[2, 3, 4\].*of 4 dims"),
    "latents of whole numbers": ({"latents": VALUES.astype(int)}, "must be floating point"),
    "a size of three": ({"size": np.array([1, 2, 3])}, r"size .* int64\[3\]"),
    "no chunks": ({"latents": VALUES[:0]}, r"has latents \(0, 2, 3, 4\) at 12.5"),
    "a rate of none": ({"fps": np.array(np.nan)}, "at nan fps"),
    "too many frames": ({"num_frames": np.array(21)}, "says 21 frames and has 5 chunks"),
    "another format": ({"format": np.array(2)}, "has format 2 and this version reads 1"),
    "text too long to be one": ({"model_digest": np.array("x" * 2**19)}, "is too large"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_array_is_named(path, case):
    changes, message = BAD[case]
    rewrite(path, **changes)
    with pytest.raises(UsageError, match=message):
        npz.LatentsReader(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_latents_that_are_not_finite_are_found_by_their_chunk(path, value):
    wrong = VALUES.copy()
    wrong[3, 1, 2, 0] = value
    rewrite(path, latents=wrong)
    with pytest.raises(UsageError, match="NaN or infinite latents, first in chunk 3 of 5"):
        list(npz.LatentsReader(path).pieces(2))


def test_what_is_cut_short_or_no_npz_is_refused(path, tmp_path):
    body = path.read_bytes()
    for wrong in (body[: len(body) // 2], b"", b"PK\x03\x04 hello", b"hello"):
        path.write_bytes(wrong)
        with pytest.raises(UsageError, match="x.npz is no npz file or is cut short"):
            npz.LatentsReader(path)
    with pytest.raises(UsageError, match="no file .*none.npz; `sora-jax encode` writes one"):
        npz.LatentsReader(tmp_path / "none.npz")


def test_a_changed_byte_is_found(path):
    body = bytearray(path.read_bytes())
    place = body.index(VALUES[4].tobytes()[:32])
    body[place] ^= 1
    path.write_bytes(body)
    with pytest.raises(UsageError, match="CRC"):
        list(npz.LatentsReader(path).pieces(5))


def test_a_header_that_would_run_is_not_run(path):
    """The header of an array is a Python literal: what is none is refused, not evaluated."""
    with np.load(path) as found:
        arrays = dict(found)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            body = io.BytesIO()
            np.lib.format.write_array(body, value)
            content = body.getvalue()
            if name == "fps":
                head = b"{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': ()}"
                content = content[:8] + len(head).to_bytes(2, "little") + head + content[-8:]
            archive.writestr(f"{name}.npy", content)
    with pytest.raises(UsageError, match="fps .* is no array"):
        npz.LatentsReader(path)


def test_another_model_is_refused_by_the_fields_that_differ(path, bundle):
    reader = npz.LatentsReader(path)
    wider = dataclasses.replace(bundle.vae, widths=(8, 16))
    for changes, words in (
        ({"vae": wider}, r"vae.widths \(\[8, 8\] -> \[8, 16\]\)"),
        ({"weights": "f" * 64}, f"weights .*-> '{'f' * 12}'"),
        ({"latents": dataclasses.replace(bundle.latents, scale=3.0)}, r"latents.scale \(2.0 -> 3"),
    ):
        with pytest.raises(UsageError, match=words + ".*decode it with the model"):
            reader.check_model(dataclasses.replace(bundle, **changes))


def test_a_model_that_is_no_json_is_refused(path, bundle):
    rewrite(path, model=np.array("{"))
    with pytest.raises(UsageError, match="does not say which model made it"):
        npz.LatentsReader(path).check_model(bundle)


def test_latents_that_do_not_fit_their_size_are_refused(path, bundle):
    rewrite(path, size=np.array([16, 40]))
    with pytest.raises(UsageError, match="says size 40x16 and has 3x2 latents"):
        npz.LatentsReader(path).check_model(bundle)
    assert tiny_parts()["model"].vae.spatial == 8
