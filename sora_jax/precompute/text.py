"""The stage `embed_text`: what a frozen text encoder says of captions, stored in their records."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Int, Params
from sora_jax.canvas import Canvas
from sora_jax.data.schema import TextStates, VideoRecord
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.network import ModelConfig
from sora_jax.models.text.tokenizer import Tokenizer


@runtime_checkable
class TextEncoder(Protocol):
    """Captions to states, each on its own: a T5, or the small encoder of a trained model."""

    @property
    def name(self) -> str:
        """Which encoder it is, with its version: states of two do not mix."""
        ...

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.floating]]:
        """States S E of each text, S being its tokens. Raises UsageError for one too long."""
        ...


class SmallText:
    """The text encoder that was trained with a model. `name` is "small:" and the model's digest."""

    def __init__(
        self,
        model: ModelConfig,
        params: Params,
        tokenizer: Tokenizer,
        digest: str,
        *,
        batch_size: int = 64,
    ):
        self._tokenizer = tokenizer
        self._params = jax.device_put(params)
        self._batch_size = batch_size
        self._encode = jax.jit(functools.partial(_encode, model=model))
        self._name = f"small:{digest[:16]}"

    @property
    def name(self) -> str:
        return self._name

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.floating]]:
        found: list[NDArray[np.floating]] = []
        for part in itertools.batched(texts, self._batch_size):
            tokens = [self._tokenizer.encode(text) for text in part]
            ids = np.zeros((self._batch_size, self._tokenizer.max_tokens), np.int32)
            for row, words in zip(ids, tokens, strict=False):
                row[: len(words)] = words
            states = np.asarray(self._encode(self._params, ids), np.float16)
            found += [states[i, : len(words)] for i, words in enumerate(tokens)]
        return found


def embed_text(
    records: Iterable[VideoRecord], encoder: TextEncoder, *, batch_size: int = 256
) -> Iterator[VideoRecord]:
    """The records with the encoder's states (half precision) of each of their captions.

    Equal captions of a batch are encoded once. Raises UsageError that names the record whose
    caption is too long.
    """
    for batch in itertools.batched(records, batch_size):
        texts = list(dict.fromkeys(c.text for record in batch for c in record.captions))
        try:
            states = dict(zip(texts, encoder(texts), strict=True))
        except UsageError:
            _name_record(batch, encoder)
            raise
        for record in batch:
            mine = tuple(
                np.asarray(states[caption.text], np.float16) for caption in record.captions
            )
            yield dataclasses.replace(record, text=TextStates(encoder=encoder.name, states=mine))


def _name_record(batch: Sequence[VideoRecord], encoder: TextEncoder) -> None:
    """Find the caption that can't be encoded, and say whose it is."""
    for record in batch:
        for caption in record.captions:
            try:
                encoder([caption.text])
            except UsageError as error:
                raise UsageError(f"a caption of record {record.id!r}: {error}") from error


def _encode(params: Params, ids: Int[Array, "B S"], *, model: ModelConfig) -> Float[Array, "B S D"]:
    """Each row is one caption; of the canvas only its text is looked at."""
    rows = len(ids)

    def empty(*shape: int, dtype=jnp.float32) -> Array:
        return jnp.zeros((rows, *shape), dtype)

    whole = jnp.concatenate([jnp.zeros((*ids.shape, 1)), jnp.ones((*ids.shape, 1))], axis=-1)
    canvas = Canvas(
        cond=empty(0, 1),
        known=empty(0, 1),
        position=empty(0, 3),
        role=empty(0, dtype=jnp.int32),
        segment=empty(0, dtype=jnp.int32),
        frame=empty(0, dtype=jnp.int32),
        frame_segment=empty(0, dtype=jnp.int32),
        frame_seconds=empty(0),
        meta=empty(0, 1),
        text=ids,
        text_segment=jnp.where(ids == 0, -2, 0),
        text_span=whole,
    )
    return network.encode_text(model, params, canvas)
