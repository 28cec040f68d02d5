"""One field of a config says where its clips come from."""

import numpy as np
import pytest

from data_pipelines import shards
from data_pipelines.physics.records import PhysicsFormat, make_record
from sora_jax import config, media
from sora_jax.cli import main, pipeline
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.data import index, records
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import UsageError
from tests.data_pipelines.test_folder import write_clip

SIZE, FRAMES = (64, 64), 16  # of the config `videos`


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A directory for each source that is one: videos, and shards of two shapes."""
    root = tmp_path_factory.mktemp("sources")
    (root / "videos").mkdir()
    for i, name in enumerate("abcdefgh"):
        write_clip(root / "videos", name, seconds=6, caption=f"a thing moves {i}")
    film = [_film_clip(i) for i in range(10)]
    shards.write(root / "film", {"train": film[:8], "heldout": film[8:]})
    return {
        "toyworld": "toyworld",
        "physics": "physics",
        "folder": str(root / "videos"),
        "shards": str(root / "film"),
    }


def _film_clip(i):
    """Landscape and portrait at 12 frames a second; the first is too short to be trained on."""
    size = (48, 80) if i % 2 else (80, 48)
    frames = np.full((12 if i == 0 else 60, *size, 3), 20 * i, np.uint8)
    seconds = len(frames) / 12
    return VideoRecord(
        id=f"film{i}",
        captions=(Caption(f"shade {i}", 0.0, seconds), Caption("late", 3.0, seconds)),
        fps=12.0,
        num_frames=len(frames),
        height=size[0],
        width=size[1],
        video=media.encode_mp4(frames, 12.0),
    )


def skip_without_mujoco(source):
    if source == "physics":
        pytest.importorskip("mujoco")
        try:
            make_record(PhysicsFormat(size=SIZE, num_frames=FRAMES, fps=8.0), "train", 0)
        except UsageError as error:
            pytest.skip(str(error))


def prepare(workdir, source, **settings):
    """The shards of a tiny run of `videos` that differs in `data.source` alone."""
    values = {"data.source": source, **settings}
    cfg = config.resolve(ExperimentConfig, config.load("videos:smoke", values))
    return pipeline.prepare_data(pipeline.open_run(cfg, workdir, "disabled"))


@pytest.mark.parametrize("source", ["toyworld", "physics", "folder", "shards"])
def test_clips_of_every_source_have_the_geometry_of_the_config(places, source, tmp_path, capsys):
    skip_without_mujoco(source)
    few = {"data.num_train": "4", "data.num_test": "2"}  # to render
    data = prepare(tmp_path / "run", places[source], **few)
    found = index.read_index(data)
    assert found.settings["kind"] == source
    assert {"train", "heldout"} <= set(found.splits)
    for name, split in found.splits.items():
        assert {tuple(shape) for shape in split.shapes.tolist()} == {(FRAMES, *SIZE)}
        assert set(split.fps.tolist()) == {8.0}
        video = records.decode(records.open_split(data, name)[0])
        assert video.shape == (FRAMES, *SIZE, 3)
    before = (data / index.MANIFEST).stat().st_mtime_ns
    prepare(tmp_path / "run", places[source], **few)
    assert (data / index.MANIFEST).stat().st_mtime_ns == before
    if source == "shards":
        assert "left out film0: 1.00 s, clips need 2.00 s" in capsys.readouterr().err


def test_windows_of_shards_keep_their_captions_and_colours(places, tmp_path):
    source = records.open_split(prepare(tmp_path / "run", places["shards"]), "train")
    assert list(source.ids)[:2] == ["film1@0", "film1@24"]  # 5 s at 8 frames/s: two windows
    first, second = source[0], source[1]
    assert first.captions == (Caption("shade 1", 0.0, 2.0),)
    assert second.captions == (Caption("shade 1", 0.0, 2.0), Caption("late", 0.0, 2.0))
    assert second.extra == {"video": "film1", "window": 1, "start": 3.0}
    assert np.abs(records.decode(second).astype(int) - 20).max() < 4


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        ("", {}, "data.source is ''"),
        ("/nowhere", {}, "data.source is '/nowhere'"),
        ("toyworld", {"data.fps": "12.0"}, "no level of the toy world has clips of 16 frames"),
        ("shards", {"data.num_frames": "48"}, "no clip of .* lasts the 6.00 s"),
    ],
)
def test_a_source_that_can_not_be_is_named(places, source, settings, expected, tmp_path):
    same = {name.replace("data.", "sampling."): value for name, value in settings.items()}
    with pytest.raises(UsageError, match=expected):
        prepare(tmp_path / "run", places.get(source, source), **settings, **same)
    assert not (tmp_path / "run" / "data").exists()


def test_shards_of_latents_are_refused(places, tmp_path):
    latents = VideoRecord(
        id="l",
        captions=(Caption("x", 0.0, 1.0),),
        fps=8.0,
        num_frames=16,
        height=64,
        width=64,
        latents=np.zeros((4, 8, 8, 4), np.float16),
    )
    shards.write(tmp_path / "latents", {"train": [latents]})
    with pytest.raises(UsageError, match="holds latents of an autoencoder"):
        prepare(tmp_path / "run", str(tmp_path / "latents"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["toyworld", "physics", "folder", "shards"])
def test_a_run_on_every_source_trains_and_reports(places, source, tmp_path):
    """Nothing but `data.source` differs."""
    skip_without_mujoco(source)
    words = ["train", "--config", "videos:smoke", f"--config.data.source={places[source]}"]
    assert main.main([*words, "--workdir", str(tmp_path / "run"), "--wandb", "disabled"]) == 0
    for name in ("report.json", "report.html", "bundle/MANIFEST.json"):
        assert (tmp_path / "run" / name).exists(), name
