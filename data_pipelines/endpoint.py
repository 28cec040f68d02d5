"""Captions from a vision model behind any OpenAI-compatible address (chat completions).

Each answer is kept in a file named by everything that it depends on, so a run that is started again
asks for nothing twice. Failures that pass are tried again; those that don't stop the run, as every
further clip would fail as well.
"""

import base64
import dataclasses
import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipelines.records import ClipRecord, content_id
from sora_jax import files
from sora_jax.data.schema import Caption
from sora_jax.errors import RunError, UsageError

PROMPT = (
    "These frames are taken in order from one video clip. Write one paragraph of plain English that"
    " says what is seen: subjects, what they do, the place, the light, how the camera moves. Do not"
    " mention frames or that this is a video."
)
type Look = Callable[[int, int], list[NDArray[np.uint8]]]

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
MAX_LETTERS = 4000


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """An address such as http://localhost:8000/v1, the model there, and how it is asked.

    Each clip is shown by `frames` JPEG pictures of the source, of at most `side` pixels. At most
    `per_minute` requests are sent from one process (0: no limit). A failure that may pass is tried
    `retries` times more, waiting `wait` seconds, then twice as long each time, or what the server
    asks for.
    """

    url: str = ""
    model: str = ""
    prompt: str = PROMPT
    frames: int = 4
    side: int = 512
    max_tokens: int = 300
    per_minute: float = 0.0
    retries: int = 4
    wait: float = 2.0
    timeout: float = 60.0


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A captioner that asks the model; answers are kept below `directory`."""

    config: EndpointConfig
    directory: str
    key: str = dataclasses.field(default="", repr=False)

    def __call__(self, record: ClipRecord, look: Look) -> list[Caption]:
        assert record.media is not None
        config = self.config
        settings = config.model, config.prompt, config.frames, config.side, config.max_tokens
        asked = content_id(record.media.sha256, record.span, *settings)
        path = Path(self.directory) / "captions" / asked[:2] / f"{asked}.json"
        if not path.exists():
            answer = _ask(config, self.key, _body(config, look(config.frames, config.side)))
            kept = {"model": config.model, "prompt": config.prompt, "clip": record.id}
            with files.disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, json.dumps(kept | {"answer": answer}, indent=1) + "\n")
        text = " ".join(json.loads(path.read_text())["answer"].split())
        if not 0 < len(text) <= MAX_LETTERS:
            raise UsageError(
                f"the model's caption has {len(text)} letters, and must have 1 to {MAX_LETTERS};"
                f" change caption.endpoint.prompt (the answer is in {path})"
            )
        return [Caption(text, 0.0, record.media.seconds)]


def _body(config: EndpointConfig, frames: list[NDArray[np.uint8]]) -> dict[str, Any]:
    pictures = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(frame)}"}}
        for frame in frames
    ]
    return {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "temperature": 0,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": config.prompt}, *pictures]}
        ],
    }


def _jpeg(frame: NDArray[np.uint8]) -> str:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, format="jpeg", quality=90)
    return base64.b64encode(target.getvalue()).decode()


def _ask(config: EndpointConfig, key: str, body: dict[str, Any]) -> str:
    """The model's answer. Raises RunError when there will be none."""
    address = f"{config.url.rstrip('/')}/chat/completions"
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    problem = ""
    for attempt in range(config.retries + 1):
        _take_turn(address, config.per_minute)
        pause = config.wait * 2**attempt
        try:
            with urllib.request.urlopen(request, timeout=config.timeout) as response:
                return str(json.load(response)["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}"
            if error.code not in _PASSING:
                raise RunError(
                    f"{address} refuses the request ({problem}: {_start(error)}); check the model's"
                    " name and the key"
                ) from error
            pause = _asked_pause(error.headers.get("Retry-After"), pause)
        except (OSError, TimeoutError) as error:
            problem = str(error)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            problem = f"its answer is no chat completion ({type(error).__name__}: {error})"
        if attempt < config.retries:
            time.sleep(pause)
    raise RunError(
        f"{address} failed {config.retries + 1} times ({problem}); captions so far are kept: run"
        " the same command again"
    )


def _start(error: urllib.error.HTTPError) -> str:
    return error.read(200).decode(errors="replace")


def _asked_pause(header: str | None, pause: float) -> float:
    """Seconds to wait: what the server asks for in seconds, else our own."""
    try:
        return min(300.0, max(0.0, float(header or "")))
    except ValueError:
        return pause


_turns: dict[str, float] = {}
_lock = threading.Lock()


def _take_turn(address: str, per_minute: float) -> None:
    """Wait until this process may send its next request."""
    if not per_minute:
        return
    with _lock:
        now = time.monotonic()
        turn = max(now, _turns.get(address, now))
        _turns[address] = turn + 60.0 / per_minute
    time.sleep(turn - now)
