"""If these fail, an editing program is told of other cuts than those that were made."""

import sys

import pytest

from sora_jax import media
from sora_jax.errors import UsageError
from sora_jax.studio import timeline
from sora_jax.studio.timeline import Segment
from tests.studio.test_edits import place, run  # noqa: F401

SUFFIXES = (".otio", ".edl", ".xml", ".fcpxml")


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:otio_fcpx_xml_adapter")


@pytest.fixture
def library():
    pytest.importorskip("opentimelineio")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_reads_back_equal(tmp_path, library, suffix):
    """Names, files with spaces, and frames, among them ones that halves of seconds do not hit."""
    first, second = tmp_path / "a clip.mp4", tmp_path / "b.mp4"
    segments = [
        Segment(name="1 kept", path=first, start=4, count=8),
        Segment(name="2 generated", path=second, start=8, count=7),
        Segment(name="3 kept", path=first, start=0, count=3, note='a dog\'s "life"'),
        Segment(name="4 kept", path=first, start=29, count=1),
    ]
    path = timeline.check(tmp_path / f"cut{suffix}", 8)
    told = timeline.write(path, "cut", segments, 8)
    assert told["timeline_rate"] == 24 and told["segments"] == 4
    found = timeline.read(path, 24)
    wanted = [(s.name, s.path, 3 * s.start, 3 * s.count) for s in segments]
    assert [(s.name, s.path, s.start, s.count) for s in found] == wanted
    assert suffix != ".otio" or found[2].note == segments[2].note


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_change_of_the_file_is_seen(tmp_path, library, suffix):
    """The comparison after writing can fail: another start is another segment."""
    path = tmp_path / f"cut{suffix}"
    segment = Segment(name="1 kept", path=tmp_path / "a.mp4", start=8, count=16)
    timeline.write(path, "cut", [segment], 24)
    assert timeline.read(path, 24) == [segment]
    timeline.write(path, "cut", [Segment(name="1 kept", path=segment.path, start=9, count=15)], 24)
    assert timeline.read(path, 24) != [segment]


@pytest.mark.parametrize("fps", [8, 24, 25, 30, 50, 60])
def test_every_frame_of_a_minute_reads_back(tmp_path, library, fps):
    """Adapters that count in seconds must not round a frame away."""
    path = tmp_path / "cut.fcpxml"
    segments = [
        Segment(name=f"{i} kept", path=tmp_path / "a.mp4", start=i, count=1 + i % 3)
        for i in range(0, 60 * fps, 37)
    ]
    timeline.write(path, "cut", segments, fps)


# What each tool is told, and its segments: names, and (start, length) in seconds.
RECUT = (
    ("recut", "tiny", "a.mp4", "--keep", "1:2", "--keep", "0:0.5", "--fill", "0.5"),
    ["1 kept", "2 generated", "3 kept"],
    [(1, 1), (1, 0.5), (0, 0.5)],
)
BLEND = (
    ("blend", "tiny", "a.mp4", "b.mp4", "--seconds", "1"),
    ["1 A", "2 generated", "3 B"],
    [(0, 2), (2, 1), (0, 2)],
)
STORYBOARD = (
    ("storyboard", "tiny", "board.yaml"),
    ["1 card", "2 card", "3 card"],
    [(0, 1), (1, 1), (2, 1)],
)
# Every tool in two formats, one of them in the others too.
TOLD = [(tool, suffix) for tool in (RECUT, BLEND, STORYBOARD) for suffix in (".otio", ".edl")]
TOLD += [(RECUT, ".xml"), (RECUT, ".fcpxml")]


@pytest.mark.parametrize(
    ("tool", "suffix"), TOLD, ids=[f"{tool[0][0]}{suffix}" for tool, suffix in TOLD]
)
def test_tools_show_in_it_what_they_made(place, capsys, library, tool, suffix):  # noqa: F811
    words, names, seconds = tool
    path = place / f"told{suffix}"
    code, result = run(place, capsys, *words, "--timeline", str(path))
    assert code == 0 and result["timeline"] == str(path)
    found = timeline.read(path, 24)
    assert [s.name for s in found] == names
    assert [(s.start / 24, s.count / 24) for s in found] == seconds
    length = len(media.read_video(place / "out.mp4")[0]) / 8
    assert sum(s.count for s in found) / 24 == length


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("cut.aaf", 8, "name it .otio or .edl"),
        ("none/cut.otio", 8, "does not exist"),
        ("cut.edl", 7, "no time code at 7 frames a second"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, library, name, fps, message):
    with pytest.raises(UsageError, match=message):
        timeline.check(tmp_path / name, fps)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_extra_is_named_in_one_line(tmp_path, monkeypatch, suffix):
    for name in ("opentimelineio", "otio_cmx3600_adapter", "otio_fcp_adapter"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "otio_fcpx_xml_adapter", None)
    with pytest.raises(UsageError, match=r"extra `timeline`.*not installed") as caught:
        timeline.check(tmp_path / f"cut{suffix}", 8)
    assert "\n" not in str(caught.value)
