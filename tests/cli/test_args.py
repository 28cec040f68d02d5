"""If these fail, an option means something else than its help says."""

import argparse
import os

import pytest

from sora_jax.cli import runtime
from sora_jax.cli.args import parse_interval, parse_size, take_overrides
from sora_jax.errors import UsageError


def test_size_is_width_by_height_outside_and_height_width_inside():
    assert parse_size("64x32") == (32, 64)
    for text in ("64", "64x", "0x64", "-4x8", "64X32", "6.5x8"):
        with pytest.raises(argparse.ArgumentTypeError, match="WIDTHxHEIGHT"):
            parse_size(text)


def test_interval_is_two_numbers():
    assert parse_interval("0.2:0.9") == (0.2, 0.9)
    for text in ("0.2", "a:b", "1:2:3"):
        with pytest.raises(argparse.ArgumentTypeError, match="LOW:HIGH"):
            parse_interval(text)


def test_overrides_are_taken_out_of_the_arguments():
    argv = ["train", "--config.a.b=1", "--config", "x.py", "--config.c", "2", "--config.d=a=b"]
    rest, overrides = take_overrides(argv)
    assert rest == ["train", "--config", "x.py"]
    assert overrides == {"a.b": "1", "c": "2", "d": "a=b"}


def test_an_override_needs_a_value():
    with pytest.raises(UsageError, match="--config.a has no value"):
        take_overrides(["--config.a"])


def test_compiled_programs_are_kept_where_the_person_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    runtime.prepare()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "sora_jax" / "jax")


def test_a_choice_of_the_person_is_kept(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    runtime.prepare()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
