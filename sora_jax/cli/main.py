"""The command `sora-jax`: finds the verb, runs it, and turns how it ended into an exit code.

A verb is a module with SUMMARY, EXAMPLE, `add_arguments(parser)` and `run(args) -> dict`; it
imports what is heavy inside `run`, so that help is instant. The dict (with `exit_code` if that is
not 0) goes to standard output, as one line of JSON with --json, else as `describe(dict)` of the
verb says, if it has that; everything else that is printed meanwhile goes to standard error.
"""

import argparse
import contextlib
import difflib
import json
import sys
import traceback
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from sora_jax.cli import (
    analyze,
    animate,
    batch,
    blend,
    data,
    decode,
    doctor,
    encode,
    evaluate,
    export,
    extend,
    generate,
    launch,
    loop,
    plan,
    post,
    quickstart,
    recut,
    remix,
    replay,
    runtime,
    storyboard,
    toyworld,
    train,
    upscale,
)
from sora_jax.cli import args as shared
from sora_jax.errors import LimitError, PolicyError, Preempted, RunError, UsageError

VERBS: dict[str, ModuleType] = {
    "quickstart": quickstart,
    "toyworld": toyworld,
    "train": train,
    "generate": generate,
    "animate": animate,
    "extend": extend,
    "remix": remix,
    "blend": blend,
    "loop": loop,
    "recut": recut,
    "storyboard": storyboard,
    "analyze": analyze,
    "post": post,
    "upscale": upscale,
    "batch": batch,
    "replay": replay,
    "encode": encode,
    "decode": decode,
    "evaluate": evaluate,
    "export": export,
    "data": data,
    "plan": plan,
    "launch": launch,
    "doctor": doctor,
}
EXIT_CODES = """exit codes:
  0 done, 2 wrong usage, 3 blocked by policy, 4 a stated limit, 5 failed while running,
  42 stopped by SIGTERM and saved, 75 ended by its watchdog, 130 stopped by Ctrl-C"""
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one verb and give its exit code."""
    return runtime.leave(_run(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> int:
    as_json = "--json" in argv[: argv.index("--") if "--" in argv else None]
    try:
        args = parse(argv)
        runtime.prepare()
        runtime.connect()
        with contextlib.redirect_stdout(sys.stderr):
            result = VERBS[args.verb].run(args)
    except (UsageError, PolicyError, LimitError, RunError, Preempted) as error:
        details = getattr(error, "details", {})
        return _fail(str(error), error.exit_code, as_json, details)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "stopped by Ctrl-C", INTERRUPTED, as_json)
    except Exception as error:
        runtime.let_others_speak_first(error)
        # Not a mistake of the person: whoever looks into it needs to see where it happened.
        traceback.print_exc()
        return _fail(f"failed while running: {type(error).__name__}: {error}", 5, as_json)
    for note in result.get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    describe = getattr(VERBS[args.verb], "describe", _describe)
    print(json.dumps(result) if as_json else describe(result))
    return result.get("exit_code", 0)


def parse(argv: list[str]) -> argparse.Namespace:
    """Arguments of one verb, with the `--config.` overrides in `overrides`.

    What comes after `--` is the verb's own business and is in `command`.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    argv, command = argv[:end], argv[end + 1 :]
    rest, overrides = shared.take_overrides(argv)
    verb = next((word for word in rest if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        nearest = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(VERBS)}"
        raise UsageError(f"sora-jax has no verb {verb!r}; {hint}")
    args = build_parser().parse_args(rest)
    args.overrides = overrides
    args.command = command
    if command and args.verb != "launch" and getattr(args, "data_verb", "") != "run":
        raise UsageError(f"{args.verb} takes nothing after --, and there is {command[0]!r}")
    if overrides and not getattr(args, "config", None):
        raise UsageError(
            f"--config.{next(iter(overrides))} needs --config FILE; {args.verb} has none"
        )
    return args


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    examples = "\n".join(f"  {verb.EXAMPLE}" for verb in VERBS.values())
    parser = shared.Parser(
        prog="sora-jax",
        description="Train and run an open text-to-video model.",
        epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        child = verbs.add_parser(
            name,
            help=verb.SUMMARY,
            description=f"{verb.SUMMARY[0].upper()}{verb.SUMMARY[1:]}.",
            epilog=f"example:\n  {verb.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_arguments(child)
        shared.add_json(child)
    return parser


def _fail(
    message: str, code: int, as_json: bool, details: Mapping[str, Any] = MappingProxyType({})
) -> int:
    message = " ".join(message.split())
    print(f"sora-jax: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({**details, "error": message, "exit_code": code}))
    return code


def _describe(result: dict[str, Any]) -> str:
    """A result for people: one line a value that says something."""
    shown = {name: value for name, value in result.items() if value not in (None, "", [])}
    hidden = ("notes", "checks", "exit_code")  # told before, for programs
    return "\n".join(f"{name:15} {value}" for name, value in shown.items() if name not in hidden)


if __name__ == "__main__":
    sys.exit(main())
