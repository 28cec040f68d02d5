"""Words to numbers: nothing is unknown, nothing is dropped, nothing is cut."""

import pytest

from sora_jax.errors import UsageError
from sora_jax.models.text.tokenizer import NULL, PADDING, Tokenizer

CAPTIONS = ["a red circle", "a red square", "a blue circle moves"]


@pytest.fixture
def tokenizer():
    return Tokenizer.from_captions(CAPTIONS, max_tokens=8)


def test_words_that_occur_twice_have_a_number_each(tokenizer):
    assert set(tokenizer.words) == {"a", "red", "circle"}
    ids = tokenizer.encode("a red circle")
    assert len(set(ids)) == 3 and not {PADDING, NULL} & set(ids)


def test_other_words_are_spelled(tokenizer):
    """One token a byte and one that closes the word; two words never share their tokens."""
    assert len(tokenizer.encode("blue")) == 5
    assert len(tokenizer.encode("\u00fcber")) == 6
    assert tokenizer.encode("ab c") != tokenizer.encode("a bc")


def test_case_and_spacing_do_not_matter_but_marks_do(tokenizer):
    assert tokenizer.encode(" A  Red\tcircle") == tokenizer.encode("a red circle")
    assert tokenizer.encode("a red, circle") != tokenizer.encode("a red circle")


def test_too_long_is_reported_with_both_lengths(tokenizer):
    with pytest.raises(UsageError, match="has 9 tokens and this model takes 8"):
        tokenizer.encode("a " * 9)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty_is_reported(tokenizer, text):
    with pytest.raises(UsageError, match="empty"):
        tokenizer.encode(text)


def test_it_round_trips_through_json(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.encode("a red blue") == tokenizer.encode("a red blue")
    assert again.vocab_size == tokenizer.vocab_size
