"""The stored form of a record."""

import dataclasses

import numpy as np
import pytest

from sora_jax.data import records, schema
from sora_jax.errors import UsageError


def stored(record):
    features = records.features()
    return features.deserialize_example_np(features.serialize_example(schema.to_fields(record)))


def test_a_video_record_survives_storage(make_record):
    record = make_record(3)
    assert schema.from_fields(stored(record)) == record


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_latents_record_survives_storage(make_record, dtype):
    latents = np.random.default_rng(0).normal(size=(2, 4, 4, 16)).astype(dtype)
    record = dataclasses.replace(make_record(3), video=None, latents=latents)
    back = schema.from_fields(stored(record))
    assert back.latents.dtype == dtype and np.array_equal(back.latents, latents)
    assert back.video is None and back.captions == record.captions


def test_a_record_holds_one_payload_and_a_caption(make_record):
    record = make_record(0)
    for change in (
        {"video": None},
        {"latents": np.zeros((1, 1, 1, 1))},
        {"captions": ()},
        {"video": None, "latents": np.zeros((4, 4))},
    ):
        with pytest.raises(UsageError, match="clip0"):
            dataclasses.replace(record, **change)


@pytest.mark.parametrize(
    "damage", [{"details": "{"}, {"details": "{}"}, {"latents": b"123"}, {"version": 99}]
)
def test_a_damaged_record_is_named(make_record, damage):
    record = dataclasses.replace(make_record(3), video=None, latents=np.zeros((2, 4, 4, 1)))
    with pytest.raises(UsageError, match="clip3|version is 99"):
        schema.from_fields(schema.to_fields(record) | damage)
