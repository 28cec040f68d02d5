"""`sora-jax evaluate`: how well a model does what it is asked, in figures."""

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.errors import UsageError

SUMMARY = "judge a model: its videos, its editing tools, or its autoencoder alone"
EXAMPLE = "sora-jax evaluate toyworld --suite toyworld --n 64"

CLIPS = 256  # of each set, unless it is said otherwise
NUM_TRAIN = 2048  # training scenes drawn again to look for copies
RESULT = "evaluation.json"  # written in a run directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument(
        "--suite",
        choices=("toyworld", "edits", "vae"),
        default="toyworld",
        help="what is judged: videos from text by an exact oracle, with controls; the editing "
        "tools; or how much of a clip the autoencoder keeps (toyworld)",
    )
    parser.add_argument(
        "--n",
        type=int,
        metavar="N",
        help="clips of each set, at least 2 (256; suite vae: 64, or as many as there are)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT.json",
        help=f"file for the figures; a run directory gets {RESULT} unless told otherwise. The "
        "suite edits writes a sheet of each tool beside it, the suite vae OUT.html and OUT.png: "
        "source, reconstruction and error of some clips",
    )
    group = parser.add_argument_group("suite vae")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="clips to judge on: shards (their split heldout), a folder of videos, or toyworld "
        "(the run's own held-out clips, else toyworld)",
    )
    group.add_argument(
        "--size",
        type=shared.parse_size,
        metavar="WxH",
        help="pixels that clips are brought to (those of the model's training)",
    )
    group.add_argument(
        "--lpips",
        metavar="FILE",
        help="weights of LPIPS-VGG (safetensors or npz), for that distance too; without it the "
        "suite uses EfficientNet-lite0 alone, if the extra `data` is installed",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge on scenes that are drawn afresh, so that a bundle without its data will do."""
    from sora_jax import files
    from sora_jax.cli import progress
    from sora_jax.data.scene import find_level
    from sora_jax.eval.suite import evaluate_toyworld
    from sora_jax.export.bundle import open_model
    from sora_jax.generate.engine import Engine

    n = args.n if args.n is not None else CLIPS
    if n < 2:
        raise UsageError(f"--n {n} is not enough to judge a model; use at least 2")
    out = _find_out(args.model, args.out)
    if args.suite == "vae":
        if out is not None and out.suffix != ".json":
            raise UsageError(f"-o {out} is for the figures; name it {out.stem}.json")
        return judge_vae(args, out)
    if args.data or args.size or args.lpips:
        raise UsageError("--data, --size and --lpips are for --suite vae; others draw their scenes")
    bundle = open_model(args.model)
    sampling = bundle.sampling
    level = find_level(sampling.size, sampling.num_frames, sampling.fps)
    if args.suite == "edits":
        return judge_edits(bundle, level, n, out)
    sets = draw_sets(level, n, NUM_TRAIN)
    with progress.stages("judging") as tell:
        found = evaluate_toyworld(Engine(bundle), bundle.sampling, sets, n=n, progress=tell)
    facts = {"model": str(bundle.path), "model_digest": bundle.digest, "level": level}
    result = facts | found.figures
    if out is not None:
        files.write_text(out, json.dumps(result, indent=2) + "\n")
        facts["output"] = str(out)
    return result | facts if args.json else facts | summary(found.figures)


def judge_vae(args: argparse.Namespace, out: Path | None) -> dict[str, Any]:
    """Judge the autoencoder; a page and a contact sheet lie beside the figures."""
    from data_pipelines.folder import ClipFormat
    from sora_jax.cli import vae_suite
    from sora_jax.eval import vae_report
    from sora_jax.eval.autoencoder import summarise
    from sora_jax.export.bundle import open_vae

    bundle = open_vae(args.model)
    form = ClipFormat(
        size=args.size or bundle.clips.size,
        num_frames=bundle.clips.num_frames,
        fps=bundle.clips.fps,
    )
    source = args.data or vae_suite.own_clips(args.model)
    n = args.n or vae_suite.CLIPS
    found, notes = vae_suite.judge(bundle, form, source, n, lpips=args.lpips)
    facts: dict[str, Any] = {"model": str(bundle.path), "model_digest": bundle.digest}
    result = facts | found.figures
    if out is None:
        notes.append("name -o OUT.json to get OUT.html and the contact sheet OUT.png too")
    else:
        words = ["sora-jax", "evaluate", args.model, "--suite", "vae", "--n", str(args.n)]
        words = words if args.n else words[:-2]
        words += ["--data", args.data] if args.data else []
        words += ["--size", f"{args.size[1]}x{args.size[0]}"] if args.size else []
        words += ["--lpips", args.lpips] if args.lpips else []
        run = Path(args.model) if (Path(args.model) / "bundle").is_dir() else None
        result = vae_report.write(out, result, found.examples, command=shlex.join(words), run=run)
        facts |= {
            "output": str(out),
            "report": str(out.with_suffix(".html")),
            "contact_sheet": str(out.with_suffix(".png")),
        }
    facts["notes"] = notes
    return result | facts if args.json else summarise(found.figures) | facts


def judge_edits(bundle: Any, level: str, n: int, out: Path | None) -> dict[str, Any]:
    """Judge the editing tools; a sheet of each lies beside the figures."""
    from sora_jax import files, media, sheets
    from sora_jax.cli import progress
    from sora_jax.eval.edits import evaluate_edits
    from sora_jax.eval.subjects import Subjects
    from sora_jax.generate.engine import Engine

    with progress.stages("judging", unit="tool") as tell:
        found = evaluate_edits(
            Subjects(
                engine=Engine(bundle, max_batch=min(n, 32)),
                settings=bundle.sampling,
                **draw_subjects(level, n),
            ),
            progress=tell,
        )
    lines = found.figures
    facts: dict[str, Any] = {"model": str(bundle.path), "model_digest": bundle.digest, "n": n}
    if out is None:
        return lines | facts
    files.write_text(out, json.dumps(lines, indent=2) + "\n")
    for name in lines:
        shown = [example for example in found.examples if example.group == name]
        if shown:
            sheet = sheets.contact_sheet([e.video for e in shown], [e.prompt for e in shown])
            media.write_png(out.with_name(f"{name}.png"), sheet)
    held = [name for name, line in lines.items() if line["ok"]]
    return facts | {"output": str(out), "hold": held, "do_not": sorted(lines.keys() - set(held))}


def draw_subjects(level: str, n: int) -> dict[str, Any]:
    """Held-out clips of one object, the captions of the same in another colour, and still ones."""
    from data_pipelines.toyworld.captions import captions
    from data_pipelines.toyworld.render import render
    from sora_jax.data.scene import sample_scene
    from sora_jax.data.schema import Caption
    from sora_jax.eval.edits import other_colour
    from sora_jax.eval.sets import HELDOUT, ToyClip

    scenes = [sample_scene(level, seed, split=HELDOUT, kind="one") for seed in range(n)]
    changed = [other_colour(scene) for scene in scenes]
    candidates = (sample_scene(level, seed, kind="one") for seed in range(10_000, 10_000 + 100 * n))
    still = [scene for scene in candidates if scene.objects[0].motion == "still"][:n]

    def told(scene):
        found = captions(scene, scene.seed)
        return tuple(Caption(text.text, text.start, text.end) for text in found)

    def shortly(scene):
        item = scene.objects[0]
        return scene, f"a {item.colour} {item.shape} on a {scene.background} background"

    return {
        "boards": [(shortly(scene), shortly(other_colour(scene))) for scene in still],
        "clips": [ToyClip(scene=s, captions=told(s), video=render(s)) for s in scenes],
        "recoloured": [(scene, told(scene)[0].text) for scene in changed],
        "still": [(scene, told(scene)[0].text) for scene in still],
    }


def draw_sets(level: str, n: int, num_train: int):
    """Clips `0 ... n - 1` of the test splits and of training, as the data pipeline makes them."""
    import numpy as np

    from data_pipelines.toyworld.records import make_record
    from data_pipelines.toyworld.render import render
    from sora_jax.data.scene import sample_scene
    from sora_jax.eval.sets import HELDOUT, SEEN, TRAIN, ToyWorldSets, to_clip

    seen, heldout = (
        tuple(to_clip(make_record(level, split, i)) for i in range(n)) for split in (SEEN, HELDOUT)
    )
    train = np.stack([render(sample_scene(level, i, split=TRAIN)) for i in range(num_train)])
    return ToyWorldSets(seen=seen, heldout=heldout, train=train)


def summary(figures: Mapping[str, Any]) -> dict[str, str]:
    """The figures for people: one line each."""
    world, controls = figures["toyworld"], figures["toyworld"]["controls"]
    rows = {"seen": world["seen"], "heldout": world["heldout"]}
    for name in tuple(rows):
        rows |= {f"{name} {kind}": row for kind, row in rows[name].get("kinds", {}).items()}
    rows |= {"shuffled": controls["shuffled_captions"], "unconditional": controls["unconditional"]}
    if controls["nearest_train"]:
        rows["nearest train"] = controls["nearest_train"]
    lines = {name: _describe_row(row) for name, row in rows.items()}
    lines["chance"] = _describe_row(world["chance"])
    for name in ("oracle", "vae", "animate", "extend"):
        pairs = figures[name].items()
        lines[name] = "  ".join(f"{key} {value:.4g}" for key, value in pairs if value is not None)
    return lines | {"sample_seconds": f"{figures['sample_seconds']:.3g}"}


def _describe_row(row: Mapping[str, Any]) -> str:
    from sora_jax.eval.scores import ATTRIBUTES

    text = "  ".join(f"{key} {row[key]:.3f}" for key in ("all", *ATTRIBUTES) if key in row)
    if "interval" in row:
        low, high = row["interval"]
        text += f"  (all: {low:.3f} to {high:.3f} at 95%, {row['n']} clips)"
    return text


def _find_out(model: str, out: str | None) -> Path | None:
    """Where the figures go, found before anything that takes time."""
    from sora_jax import files

    if out is not None:
        return files.check_folder(out)
    return Path(model) / RESULT if (Path(model) / "bundle").is_dir() else None
