"""If these fail, a colour table does other things than it says, or a broken one is taken."""

import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.post import lut
from tests.post.clips import scene


def write_cube(path, size, change, header=""):
    """A 3-D table of `change` at each place; red varies fastest."""
    steps = np.linspace(0, 1, size)
    rows = [change(r, g, b) for b in steps for g in steps for r in steps]
    lines = [header, f"LUT_3D_SIZE {size}", *(" ".join(map(str, row)) for row in rows)]
    path.write_text("# made for a test\n" + "\n".join(lines) + "\n")
    return path


def apply(path, frames):
    return np.stack(list(lut.read_cube(path).apply(frames)))


def test_the_table_of_nothing_changes_nothing(tmp_path):
    path = write_cube(tmp_path / "same.cube", 5, lambda r, g, b: (r, g, b), 'TITLE "no change"')
    np.testing.assert_array_equal(apply(path, scene(2)), scene(2))


def test_channels_are_where_they_belong(tmp_path):
    path = write_cube(tmp_path / "turn.cube", 3, lambda r, g, b: (b, r, g))
    np.testing.assert_array_equal(apply(path, scene(2)), scene(2)[..., [2, 0, 1]])


def test_between_entries_it_is_linear(tmp_path):
    path = write_cube(tmp_path / "half.cube", 2, lambda r, g, b: (r / 2, g, 1 - b))
    given = scene(1).astype(float)
    wanted = np.stack([given[..., 0] / 2, given[..., 1], 255 - given[..., 2]], -1)
    assert np.abs(apply(path, scene(1)) - wanted).max() <= 0.51


def test_curves_and_domains(tmp_path):
    path = tmp_path / "curve.cube"
    path.write_text("DOMAIN_MIN 0 0 0\nDOMAIN_MAX 0.5 1 1\nLUT_1D_SIZE 2\n0 0 1\n1 1 0\n")
    given = np.array([[[[0, 10, 0], [64, 200, 255], [200, 255, 100]]]], np.uint8)
    wanted = [[[[0, 10, 255], [128, 200, 0], [255, 255, 155]]]]
    np.testing.assert_array_equal(apply(path, given), wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 7, "has 7 rows and LUT_3D_SIZE 2 needs 8"),
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 7 + "0 0\n", "line 9 of .* not three numbers"),
        ("LUT_3D_SIZE 2\n" + "0 nan 0\n" * 8, "line 2 of .* not three numbers"),
        ("LUT_3D_SIZE 2\n" + "nan 0 0\n" * 8, "line 2 of .* not three numbers"),
        ("LUT_3D_SIZE 999\n", "line 1 of .* from 2 to 128"),
        ("LUT_3D_SIZE two\n", "line 1 of .* from 2 to 128"),
        ("0 0 0\n", "must have one of LUT_1D_SIZE and LUT_3D_SIZE"),
        ("LUT_1D_SIZE 2\nLUT_3D_SIZE 2\n", "must have one of"),
        ("<html>\n", "line 1 of .* not three numbers"),
        ("hello world\n", "begins with 'hello'"),
        ("LUT_1D_SIZE 2\nDOMAIN_MAX 0 1 1\n0 0 0\n1 1 1\n", "domain that ends where it begins"),
    ],
)
def test_a_corrupt_table_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        lut.read_cube(path)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "bad.cube"
    path.write_bytes(b"LUT_3D_SIZE 2\n\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not text"):
        lut.read_cube(path)
    with pytest.raises(UsageError, match="no colour table"):
        lut.read_cube(tmp_path / "none.cube")
