"""If these fail, enlarged pictures have seams, another size, or are worse than Lanczos'."""

import json

import cv2
import jax
import numpy as np
import pytest

from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.errors import LimitError, UsageError
from sora_jax.export.upscaler import open_upscaler, write_upscaler
from sora_jax.generate import upscale
from sora_jax.models import network
from sora_jax.models.upscaler import Upscaler, UpscalerConfig
from sora_jax.studio import finish
from tests.post.clips import psnr, scene, write_video

CFG = UpscalerConfig(width=6, depth=3)


def random_params(scale=0.1):
    """No layer is zero, as the last is at the start."""
    leaves, tree = jax.tree.flatten(network.graph(Upscaler, CFG)[1])
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        tree, [scale * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upscaler")
    return write_upscaler(folder / "run", cfg=CFG, params=random_params(), card="# Test\n")


def test_tiles_are_the_whole_picture():
    """Any tile size, sides that it does not divide, and no difference at the borders."""
    rng = np.random.default_rng(1)
    picture = rng.uniform(-1, 1, (45, 70, 3)).astype(np.float32)
    params = random_params()
    whole = upscale.double(CFG, params, picture, tile=70)
    tiled = upscale.double(CFG, params, picture, tile=20)
    np.testing.assert_allclose(tiled, whole, atol=2e-6)
    assert np.abs(whole - np.repeat(np.repeat(picture, 2, 0), 2, 1)).max() > 0.1


def test_a_fresh_network_is_lanczos():
    params = network.init(Upscaler, CFG, jax.random.key(0))
    picture = scene(1, 48)[0].astype(np.float32) / 127.5 - 1
    made = upscale.double(CFG, params, picture)
    wanted = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(made - wanted)[8:-8, 8:-8].mean() < 0.01


@pytest.mark.parametrize(
    ("size", "side", "wanted"),
    [
        ((64, 64), 256, (256, 256)),
        ((480, 854), 1080, (1080, 1922)),
        ((1920, 1080), 2160, (3840, 2160)),
        ((36, 64), 1080, (1080, 1920)),
    ],
)
def test_the_shorter_side_is_as_asked(size, side, wanted):
    assert finish.target_size(size, side) == wanted


def test_frames_come_out_at_any_larger_size(model):
    bundle = open_upscaler(model)
    for size in ((36, 72), (50, 100), (64, 128), (100, 200)):
        (made,) = upscale.upscale(bundle, [np.zeros((32, 64, 3), np.uint8)], size)
        assert made.shape == (*size, 3) and made.dtype == np.uint8


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="720p, 1080p, 2160p"):
        finish.parse_side("large")
    with pytest.raises(UsageError, match="even number of rows"):
        finish.parse_side("721p")
    with pytest.raises(LimitError, match="over 2160p"):
        finish.parse_side("4320p")
    with pytest.raises(UsageError, match="is 1920x1080, not smaller than 720p"):
        finish.target_size((1080, 1920), 720)


def test_the_verb_enlarges_and_keeps_sound(tmp_path, capsys, model):
    write_video(tmp_path / "small.mp4", scene(3, 32), tracks=(440,))
    words = ["upscale", str(model), str(tmp_path / "small.mp4"), "--to", "64p"]
    assert cli.main([*words, "-o", str(tmp_path / "large.mp4"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["size"] == [64, 64] and result["probe"]["sound"] == ["aac"]
    assert media.read_video(tmp_path / "large.mp4")[0].shape == (3, 64, 64, 3)
    record = str(tmp_path / "large.json")
    assert cli.main(["replay", record, "-o", str(tmp_path / "again.mp4"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]
    (model / "card.md").write_text("# Other\n")
    code = cli.main([*words, "-o", str(tmp_path / "large.mp4"), "--json"])
    assert code == 2 and "copy the bundle again" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("name", ["nothing", "toyworld"])
def test_what_is_no_upscaler_says_how_to_get_one(tmp_path, name):
    with pytest.raises(UsageError, match="make upscaler"):
        open_upscaler(name if name == "toyworld" else tmp_path / name)


@pytest.mark.slow
def test_training_beats_lanczos(tmp_path, capsys):
    """A few dozen steps on drawn clips: the command, its bundle, and better than its start."""
    words = ["train", "--config", "upscaler:smoke", "--workdir", str(tmp_path / "run")]
    words += ["--logger", "none", "--config.upscaler.loop.steps=60", "--config.eval.samples=4"]
    words += ["--config.upscaler.optimizer.warmup=10", "--config.upscaler.loop.eval_every=60"]
    words += ["--config.upscaler.model.width=8", "--config.upscaler.model.depth=3"]
    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["psnr"] > result["lanczos_psnr"]
    bundle = open_upscaler(tmp_path / "run")
    frames = scene(1, 64)
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in frames]
    lanczos = cv2.resize(small[0], (64, 64), interpolation=cv2.INTER_LANCZOS4)
    (made,) = upscale.upscale(bundle, small, (64, 64))
    assert psnr(made, frames[0]) > psnr(lanczos, frames[0]) - 1
