"""A section that takes too long ends the run; one that does not is left alone."""

import subprocess
import sys
import time

import pytest

from sora_jax.train.watchdog import EXIT_CODE, Watchdog, WatchdogConfig

pytestmark = pytest.mark.alone
HANG = """
import threading, time
from sora_jax.train.watchdog import Watchdog, WatchdogConfig
def data_thread_stuck():
    while True: pass
threading.Thread(target=data_thread_stuck, daemon=True).start()
watch = Watchdog(WatchdogConfig(data=0.3))
watch.enter("step")
watch.enter("data")
time.sleep(60)
"""


def test_a_hung_process_ends_with_its_stacks():
    """Though its main thread never comes back to Python code of ours."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CODE
    assert time.monotonic() - began < 30
    assert "data_thread_stuck" in done.stderr
    assert "loop.watchdog.data" in done.stderr.splitlines()[-1]


def test_only_the_present_section_counts():
    """Many short sections add up to more than the limit, and nothing happens; then one is long."""
    ends = []
    watch = Watchdog(WatchdogConfig(step=0.4, data=0.0), end=ends.append)
    for _ in range(8):
        watch.enter("step")
        time.sleep(0.1)
    watch.enter("data")  # no limit
    time.sleep(0.6)
    assert ends == []
    watch.enter("step")
    time.sleep(0.8)
    assert len(ends) == 1 and ends[0].startswith("step has taken")


def test_a_closed_watchdog_sleeps():
    ends = []
    watch = Watchdog(WatchdogConfig(step=0.1), end=ends.append)
    watch.enter("step")
    watch.close()
    time.sleep(0.4)
    assert ends == []


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="step is -1"):
        WatchdogConfig(step=-1)


def test_a_read_beside_the_steps_has_the_limit_of_data():
    """A thread that reads ahead hangs while steps go on; one that merely reads much does not."""
    ends: list[str] = []
    watch = Watchdog(WatchdogConfig(data=0.3, step=60.0), end=ends.append)
    began = time.monotonic()
    watch.follow(lambda: time.monotonic() - 0.1)  # every read is a new one
    while time.monotonic() - began < 0.8:
        watch.enter("step")
        time.sleep(0.02)
    assert not ends
    watch.follow(lambda: began)
    time.sleep(0.2)
    watch.close()
    (message,) = ends
    assert "reading a sample" in message and "loop.watchdog.data" in message
