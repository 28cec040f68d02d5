"""`decide`: which clips go into the shards. All thresholds stand here, with the reason for each.

A clip that is turned down keeps its scores and every reason, so a threshold can be judged, and
changed without measuring again.
"""

import dataclasses
import operator

from data_pipelines.records import ClipRecord, Decision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits on scores; docs/data_pipeline.md says how each was found. A still has no motion."""

    min_motion: float = 0.3
    """Percent of the short side a second. Below: a still picture, or only a pointer moves."""
    max_motion: float = 400.0
    """Above: the picture passes in a quarter of a second, and blurs or jumps."""
    max_static_share: float = 0.8
    """Above: most frames repeat the one before: a screen recording, a slide, a frozen feed."""
    min_purity: float = 0.5
    """Below: the colours jump between two frames, so a cut was missed."""
    min_sharpness: float = 20.0
    """Below: out of focus, or enlarged from a small picture."""
    min_brightness: float = 0.06
    max_brightness: float = 0.95
    """Outside: black or white frames, a leader or a fade."""
    min_contrast: float = 0.04
    """Below: fog, a plain colour, a card."""
    max_text_area: float = 0.015
    """Share of the picture under readable words. Above: titles, credits, subtitles, screens."""
    min_short_side: int = 64
    """Pixels of the clip. Below: too little to see."""
    min_plugins: dict[str, float] = dataclasses.field(default_factory=dict)
    """Lower limits on scores of plug-ins, such as {"aesthetic": 4.5}."""
    max_plugins: dict[str, float] = dataclasses.field(default_factory=dict)
    """Upper limits on scores of plug-ins, such as {"nudity": 0.5}."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One threshold: the score it looks at, the side on which it acts, its value and meaning."""

    score: str
    field: str
    is_minimum: bool
    limit: float
    meaning: str


@dataclasses.dataclass(frozen=True)
class Decide:
    """The stage: a scored record in, the same with a decision and all its reasons out."""

    config: Thresholds
    name: str = "decide"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        reasons = list(self._reasons(record))
        return [record.replace(decision=Decision(is_kept=not reasons, reasons=tuple(reasons)))]

    def _reasons(self, record: ClipRecord):
        assert record.media is not None
        if record.duplicate_of:
            yield "duplicate", f"it shows what clip {record.duplicate_of} shows"
        side = min(record.media.height, record.media.width)
        if side < self.config.min_short_side:
            yield "small", f"its short side is {side}, under {self.config.min_short_side} pixels"
        for rule in rules(self.config):
            value = record.scores.get(rule.score)
            is_bad = operator.lt if rule.is_minimum else operator.gt
            if value is not None and is_bad(value, rule.limit):
                side_word = "under" if rule.is_minimum else "over"
                yield (
                    f"{rule.score}",
                    f"{rule.score} {value:g} is {side_word} {rule.field} {rule.limit:g}:"
                    f" {rule.meaning}",
                )


def rules(config: Thresholds) -> list[Rule]:
    """All thresholds as rules, those that say most about a clip first."""
    fixed = [
        ("text_area", "max_text_area", "words lie over the picture"),
        ("static_share", "max_static_share", "most frames repeat the one before"),
        ("motion", "min_motion", "nothing moves"),
        ("motion", "max_motion", "too fast to follow"),
        ("purity", "min_purity", "the colours jump, so it holds a cut"),
        ("sharpness", "min_sharpness", "blurred"),
        ("contrast", "min_contrast", "plain"),
        ("brightness", "min_brightness", "too dark to see"),
        ("brightness", "max_brightness", "too light to see"),
    ]
    found = [
        Rule(score, field, field.startswith("min"), getattr(config, field), meaning)
        for score, field, meaning in fixed
    ]
    for field, is_minimum in (("min_plugins", True), ("max_plugins", False)):
        for score, limit in getattr(config, field).items():
            found.append(Rule(score, field, is_minimum, limit, "the limit set for this plug-in"))
    return found
