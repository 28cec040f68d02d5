"""Words to numbers: one for each word of the training captions; others are spelled in bytes."""

import collections
import re
from collections.abc import Iterable

from sora_jax.errors import UsageError

PADDING, NULL = 0, 1
_BYTES = 2  # ids 2..257 are bytes, 258 closes a spelled word
_WORDS = _BYTES + 257


class Tokenizer:
    """Lower-case words and punctuation; nothing is unknown and nothing is dropped."""

    def __init__(self, words: Iterable[str], max_tokens: int):
        self.words = tuple(words)
        self.max_tokens = max_tokens
        self._ids = {word: _WORDS + i for i, word in enumerate(self.words)}

    @classmethod
    def from_captions(cls, captions: Iterable[str], max_tokens: int, limit: int = 4096):
        """The words that occur at least twice, commonest first."""
        counts = collections.Counter(word for text in captions for word in split(text))
        return cls([word for word, n in counts.most_common(limit) if n > 1], max_tokens)

    @property
    def vocab_size(self) -> int:
        return _WORDS + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids. Raises UsageError for an empty text and for one longer than `max_tokens`."""
        words = split(text)
        if not words:
            raise UsageError("the prompt is empty; describe the video in a few words")
        ids = [token for word in words for token in self._word(word)]
        if len(ids) > self.max_tokens:
            raise UsageError(
                f"the prompt has {len(ids)} tokens and this model takes "
                f"{self.max_tokens}; shorten it (unusual words cost a token a letter)"
            )
        return ids

    def _word(self, word: str) -> list[int]:
        if word in self._ids:
            return [self._ids[word]]
        return [_BYTES + byte for byte in word.encode()] + [_BYTES + 256]

    def to_json(self) -> dict:
        return {"kind": "words", "max_tokens": self.max_tokens, "words": list(self.words)}

    @classmethod
    def from_json(cls, values: dict) -> "Tokenizer":
        if values["kind"] != "words":
            raise UsageError(
                f"tokenizer kind {values['kind']!r} is not known; this version has 'words'"
            )
        return cls(values["words"], values["max_tokens"])


def split(text: str) -> list[str]:
    """Lower-case words, numbers and marks."""
    return re.findall(r"[^\W\d_]+|\d+|[^\w\s]", text.lower())
