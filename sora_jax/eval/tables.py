"""The report's tables as HTML."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from sora_jax.eval import goals
from sora_jax.eval.scores import ATTRIBUTES, Row

KINDS = {
    "one": "one object",
    "two": "two objects",
    "camera": "moving camera",
    "change": "scene change",
}


def goal_table(checks: Sequence[goals.Check]) -> str:
    """Each goal with its figure, the interval of the figure and whether it is met."""
    rows = []
    for check in checks:
        bound = "at most" if check.is_limit else "at least"
        mark = "right" if check.is_met else "wrong"
        sign = "&#10003;" if check.is_met else "&#10007;"
        between = ""
        if check.interval:
            between = " to ".join(_value(end, check.unit) for end in check.interval)
        rows.append(
            f'<tr><th scope="row">{html.escape(check.name)}</th>'
            f'<td class="number">{_value(check.value, check.unit)}</td>'
            f'<td class="number soft">{between}</td>'
            f'<td class="number">{bound} {_value(check.goal, check.unit)}</td>'
            f'<td class="{mark}">{sign}</td></tr>'
        )
    return _table(("", "figure", "95% interval", "goal", ""), rows)


def attribute_tables(toyworld: Mapping[str, Any]) -> str:
    """The sets, their kinds of scenes, and the controls, by attribute."""
    chance = toyworld["chance"]
    sets = {"seen compositions": toyworld["seen"], "held-out compositions": toyworld["heldout"]}
    rows = dict(sets)
    for name, row in sets.items():
        for kind, part in row.get("kinds", {}).items():
            rows[f"{name.split()[0]}: {KINDS[kind]}"] = part
    controls = toyworld["controls"]
    checked = {
        "captions shuffled": controls["shuffled_captions"],
        "no captions": controls["unconditional"],
    }
    nearest = controls["nearest_train"]
    if nearest:
        checked["nearest training clip instead"] = nearest
    return (
        _attributes(rows, None)
        + "<h3>Controls</h3><p>A model that does not read its prompt, or copies what it was "
        "trained on, would score like this. Marked: shares above chance by more than luck "
        f"(5% over all attributes).</p>{_attributes(checked, chance)}{_copies(nearest)}"
    )


def overfit_table(report: Mapping[str, Any]) -> str:
    """PSNR of each caption's sample, and what the autoencoder alone reaches."""
    overfit, vae = report["overfit"], report["vae"]
    rows = [
        f'<tr><th scope="row">{html.escape(item["prompt"])}</th>'
        f'<td class="number">{item["psnr"]:.1f} dB</td>'
        f'<td class="number">{item["clips"]}</td></tr>'
        for item in overfit["prompts"]
    ]
    linear = vae["linear_psnr"]
    beside = "" if linear is None else f"; a linear codec of the same size: {linear:.1f} dB"
    return (
        _table(("caption", "sample against its clip", "clips of this caption"), rows)
        + f"<p>The autoencoder alone: {vae['train_psnr']:.1f} dB on training clips, "
        f"{vae['psnr']:.1f} dB on held-out ones{beside}.</p>"
    )


def time_table(goodput: Mapping[str, Any]) -> str:
    """Where the wall time of all attempts of a run went."""
    words = {
        "init": "setting up, data, restoring", "compile": "compiling", "data": "waiting for data",
        "step": "steps", "save": "saving", "evaluate": "evaluation and samples",
        "lost": "lost: done again", "idle": "idle between attempts",
    }  # fmt: skip
    rows = [
        f'<tr><th scope="row">{html.escape(words.get(name, name))}</th>'
        f'<td class="number">{share:.1%}</td>'
        f'<td class="number">{goodput["seconds"][name] / 60:.1f} min</td></tr>'
        for name, share in goodput["shares"].items()
    ]
    attempts, lost = goodput["attempts"], goodput["lost_steps"]
    return _table(("", "share", "time"), rows) + f"<p>Attempts: {attempts}; steps lost: {lost}.</p>"


def _attributes(rows: Mapping[str, Row], chance: Mapping[str, float] | None) -> str:
    columns = [key for key in ATTRIBUTES if any(key in row for row in rows.values())]
    lines = []
    for name, row in rows.items():
        wrong = goals.above_chance(row, chance) if chance and "generated" not in row else []
        cells = "".join(_cell(row, key, key in wrong) for key in (*columns, "all"))
        lines.append(
            f'<tr><th scope="row">{html.escape(name)}</th>{cells}'
            f'<td class="number soft">{row["n"]}</td></tr>'
        )
    if chance:
        cells = "".join(
            f'<td class="number">{chance[key]:.3f}</td>' if key in chance else "<td></td>"
            for key in (*columns, "all")
        )
        lines.append(f'<tr class="chance"><th scope="row">chance</th>{cells}<td></td></tr>')
    return _table(("", *columns, "all", "clips"), lines)


def _cell(row: Row, key: str, is_wrong: bool) -> str:
    """A share over its interval; empty where no scene decides it."""
    if key not in row:
        return "<td></td>"
    low, high = goals.interval(row, key)
    name = "number wrong" if is_wrong else "number"
    return f'<td class="{name}">{row[key]:.3f}<small>{low:.2f}&ndash;{high:.2f}</small></td>'


def _copies(nearest: Mapping[str, Any] | None) -> str:
    if not nearest:
        return "<p>The training clips were not at hand: copies were not looked for.</p>"
    return (
        f"<p>Held-out videos lie {nearest['generated']:.1f} pixel values from the nearest of "
        f"{nearest['train_n']} training clips (root mean square, median), real held-out clips "
        f"{nearest['real']:.1f}. Copies: {nearest['copies']:.1%}.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _value(value: float, unit: str) -> str:
    shown = {"dB": f"{value:.2f} dB", "min": f"{value:.1f}", "": f"{value:.0f}"}
    return shown.get(unit, f"{value:.3f}")
