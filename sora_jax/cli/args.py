"""Arguments that several verbs share, and how text becomes values. Imports nothing heavy."""

import argparse
import re
from typing import Any, NoReturn

from sora_jax.errors import UsageError

_OVERRIDE = re.compile(r"--config\.([A-Za-z_][\w.]*)(?:=(.*))?", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and go the way of all other errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run directory, an exported bundle, or toyworld (comes with the package)",
    )


def add_model_and(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """MODEL, which may be left out, and one file; `split_model` gives both."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar=f"[MODEL] {metavar}",
        help=f"{metavar}: {help}. MODEL: a run directory, an exported bundle, or toyworld, which "
        "comes with the package and is meant where none is named",
    )
    parser.usage = f"%(prog)s [MODEL] {metavar} -o OUT [options]"


def split_model(args: argparse.Namespace) -> tuple[str, str]:
    """Model and file of `add_model_and`."""
    if len(args.words) > 2:
        raise UsageError(
            f"{args.verb} takes a model and one file, and there is {args.words[2]!r}; see "
            f"`sora-jax {args.verb} --help`"
        )
    return ("toyworld", *args.words)[-2:]


def add_tile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tile",
        type=int,
        default=0,
        metavar="N",
        help="do pictures in tiles of N pixels, blended, where a whole one does not fit in memory "
        "(whole pictures)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="OUT.mp4",
        help="video to write; OUT.png beside it shows its frames",
    )


def add_timeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeline",
        metavar="FILE",
        help="also write what is shown when, for editing programs: .otio, .edl, .xml or .fcpxml "
        "(extra `timeline`)",
    )


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """What a finished video is written as; `delivery` gives the values."""
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="OUT",
        help="file to write, .mp4 unless the profile has another; OUT.png shows before and after",
    )
    group.add_argument(
        "--profile",
        default="plain",
        metavar="NAME",
        help="plain (mp4), story (1080x1920), feed (1080x1080), wide (1920x1080), prores (.mov), "
        "gif, webp, png (a folder) (plain)",
    )
    group.add_argument(
        "--fit",
        default="pad",
        metavar="WAY",
        help="to a profile's size: pad (bars) or crop (the middle) (pad)",
    )
    group.add_argument(
        "--audio", default="keep", metavar="WAY", help="keep or drop all sound tracks (keep)"
    )


def delivery(args: argparse.Namespace) -> dict[str, Any]:
    """Values of `add_delivery`, but for the file."""
    return {name: getattr(args, name) for name in ("profile", "fit", "audio")}


def add_shards_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--out", required=True, metavar="SHARDS", help="directory of shards to write"
    )


def add_prompt(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "-p", "--prompt", required=required, metavar="TEXT", help="what the video shows"
    )
    parser.add_argument(
        "--negative", default="", metavar="TEXT", help="what guidance moves away from"
    )


def add_controls(parser: argparse.ArgumentParser, *, has_pacing: bool = True) -> None:
    """What is chosen instead of described; `control_wishes` gives the values."""
    group = parser.add_argument_group(
        "controls (said in the prompt where the model knows the words, else done to the pictures)"
    )
    group.add_argument(
        "--style", metavar="NAME", help="noir, vivid, pastel, faded, retro, or one of --styles"
    )
    group.add_argument(
        "--styles",
        metavar="FILE.yaml",
        help="your own: NAME: {prompt: '{prompt} ...', negative: ..., cfg_scale: G, post: {...}}",
    )
    group.add_argument(
        "--lighting",
        metavar="L",
        help="day, 'golden hour', dusk, night, or from 0 (night) to 1 (day)",
    )
    group.add_argument(
        "--perspective",
        metavar="NAME",
        help="'eye level', close-up, 'low angle', 'high angle', 'dutch angle'",
    )
    group.add_argument(
        "--camera",
        metavar="MOVE[:AMOUNT]",
        help="still, 'pan left', 'pan right', 'tilt up', 'tilt down', 'zoom in', 'zoom out'; "
        "AMOUNT: the share of the picture that it crosses (0.16)",
    )
    if has_pacing:
        group.add_argument(
            "--pacing", metavar="P", help="slow, normal, fast, or 0.25 to 4 times as fast"
        )


def control_wishes(args: argparse.Namespace) -> dict[str, Any]:
    """Values of `add_controls` as the studio's functions take them."""
    names = ("style", "styles", "lighting", "perspective", "camera", "pacing")
    return {name: getattr(args, name, None) for name in names}


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Options that override the model's own settings, which are the defaults."""
    group = parser.add_argument_group("sampling (the defaults are the model's own)")
    group.add_argument("--size", type=parse_size, metavar="WxH", help="pixels, such as 64x64")
    group.add_argument("--fps", type=float, metavar="F", help="frames a second")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another number, another video (0)"
    )
    group.add_argument("--steps", type=int, metavar="K", help="solver steps: more is slower")
    group.add_argument(
        "--draft", action="store_true", help="a quick look: an eighth of the model's own steps"
    )
    group.add_argument("--solver", metavar="NAME", help="euler, heun or multistep")
    group.add_argument(
        "--cfg-scale", type=float, metavar="G", help="how closely to follow the prompt; 1 = off"
    )
    group.add_argument(
        "--interval",
        type=parse_interval,
        metavar="LOW:HIGH",
        help="noise levels at which guidance acts, within 0:1",
    )
    group.add_argument(
        "--rescale", type=float, metavar="R", help="take back contrast that guidance adds, 0 to 1"
    )
    group.add_argument(
        "--shift", type=float, metavar="S", help="more steps at high noise; 1 = even"
    )


def sampling_wishes(args: argparse.Namespace) -> dict[str, Any]:
    """Values of `add_sampling` as the studio's functions take them."""
    names = ("size", "fps", "seed", "steps", "solver", "cfg_scale", "interval", "rescale", "shift")
    return {name: getattr(args, name) for name in names} | {"draft": args.draft or None}


def add_json(parser: argparse.ArgumentParser, *, is_inner: bool = False) -> None:
    """Add --json; the parser of a verb's verb leaves the value alone where it was given before."""
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS if is_inner else False,
        help="print the result as one JSON object, and nothing else, on standard output",
    )


def parse_size(text: str) -> tuple[int, int]:
    """Turn WxH into (height, width)."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or "0" in (found[1], found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 64x64")
    return int(found[2]), int(found[1])


def parse_interval(text: str) -> tuple[float, float]:
    """Turn LOW:HIGH into two numbers."""
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH, such as 0.2:0.9") from error
    return low, high


def take_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Separate `--config.a.b=VALUE` (or `--config.a.b VALUE`) from the other arguments."""
    rest, overrides, words = [], {}, iter(argv)
    for word in words:
        found = _OVERRIDE.fullmatch(word)
        if not found:
            rest.append(word)
            continue
        value = found[2] if found[2] is not None else next(words, None)
        if value is None:
            raise UsageError(f"{word} has no value; write {word}=VALUE")
        overrides[found[1]] = value
    return rest, overrides
