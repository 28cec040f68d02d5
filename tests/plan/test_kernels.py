"""If these fail, the time of attention in a plan is not that of the kernels."""

import numpy as np
import pytest

from sora_jax.errors import RunError, UsageError
from sora_jax.models import splash
from sora_jax.models.splash_kernels import BACKWARD, FORWARD, Blocks
from sora_jax.plan import chips, kernels
from sora_jax.plan.cost import KernelCall
from sora_jax.plan.hlo import Shape

V5E, V5P = chips.CHIPS["v5e"], chips.CHIPS["v5p"]
BLOCKS = Blocks(query=128, key=256, step=128)
PLAIN = kernels.Kernel(FORWARD, BLOCKS, False, 128)


def schedule_text(parts: list[int], loop: int = 100) -> str:
    """Final bundles of a grid loop with predicated parts of these lengths, `loop` around them."""
    lines, at, region = [], 0, 10

    def bundle(mark: str = "") -> None:
        nonlocal at
        lines.append(f" {at:#x}   : > {{ %1 = nop }} {mark}")
        at += 1

    bundle("/* Start region 1 */")
    bundle("/* Start region 2 */")
    for length in parts:
        bundle(f"/* Start region {region} */")
        for _ in range(length - 2):
            bundle()
        bundle(f"/* End region {region} */")
        region += 1
    bundle("/* End region 2 */")
    for _ in range(loop - 4):
        bundle()
    bundle("/* End region 1 */")
    return "\n".join(lines)


def test_a_schedule_is_read_by_the_order_of_its_parts():
    """Start, plain visit, masked visit, finish; short parts only move data and stay in `around`."""
    found = kernels.read_schedule(schedule_text([70, 20, 900, 1100, 80]), PLAIN)
    assert (found.plain, found.masked, found.ends) == (900, 1100, 150)
    assert found.around == 100 + 20


def test_a_schedule_of_another_make_is_refused():
    with pytest.raises(RunError, match=r"3 parts and 4 are known.*requirements-tpu.lock"):
        kernels.read_schedule(schedule_text([900, 1100, 80]), PLAIN)


def test_one_clip_visits_plainly_and_its_filled_up_end_masked():
    one = np.zeros(300, np.int32)  # blocks of 128: the third is filled up; keys of 256: the second
    visits = kernels.count_visits(PLAIN, one, one)
    assert (visits.plain, visits.masked, visits.passed, visits.rows) == (2, 4, 0, 3)


def test_packed_clips_are_passed_over_where_they_cannot_meet():
    """Two clips of whole blocks: each meets itself only, and all those visits are plain."""
    two = np.repeat(np.arange(2, dtype=np.int32), 512)
    visits = kernels.count_visits(PLAIN, two, two)
    assert (visits.plain, visits.masked, visits.passed) == (16, 0, 16)


def test_visits_with_spans_are_all_masked():
    spans = kernels.Kernel(FORWARD, BLOCKS, True, 128)
    two = np.repeat(np.arange(2, dtype=np.int32), 512)
    assert kernels.count_visits(spans, two, two).plain == 0


def test_heads_are_shared_out_over_cores():
    """Three heads on two cores take as long as four; on one core, three times one."""
    visits = kernels.Visits(plain=8, masked=1, passed=3, rows=2)
    schedule = kernels.Schedule(plain=5000, masked=6000, around=10, ends=100)

    def cycles(chip: chips.Chip, heads: int) -> int:
        call = KernelCall(PLAIN.name, (Shape("bf16", (heads, 256, 128)),) * 8, 1)
        return kernels.cycles(call, PLAIN, schedule, chip, visits)

    one = 8 * 5000 + 6000 + 12 * 10 + 2 * 100
    assert cycles(V5E, 3) == 3 * one and cycles(V5P, 3) == cycles(V5P, 4) == 2 * one


def test_products_bound_a_visit_from_below():
    """Five products of 128 x 256 x 128 keep the units of a core for 320 cycles, however few
    bundles there are.
    """
    kernel = kernels.Kernel(BACKWARD, BLOCKS, False, 128)
    call = KernelCall(kernel.name, (Shape("bf16", (1, 256, 128)),) * 8, 1)
    schedule = kernels.Schedule(plain=1, masked=1, around=0, ends=0)
    visits = kernels.Visits(plain=1, masked=0, passed=0, rows=1)
    assert kernels.cycles(call, kernel, schedule, V5E, visits) == 320


def test_a_kernel_is_known_by_its_name():
    name = "jit(step)/while/body/transpose(jvp(splash_backward_spans_1024_512_256))/pallas_call"
    found = kernels.identify(KernelCall(name, (Shape("bf16", (10, 2048, 64)),) * 8, 1))
    blocks = Blocks(query=1024, key=512, step=256)
    assert found == kernels.Kernel(BACKWARD, blocks, True, 64)
    assert kernels.identify(KernelCall("jit(f)/other_kernel", (), 1)) is None


@pytest.mark.parametrize("chip", splash.TUNING)
def test_the_blocks_in_use_are_the_best_of_the_table(chip):
    """The autotuner's table decides, and holds what a plan needs."""
    table, tuning = kernels.load_table(), splash.TUNING[chip]
    for kind, used in ((FORWARD, tuning.forward), (BACKWARD, tuning.backward)):
        times = {}
        for key, entry in table["schedules"].items():
            of, name, width = key.split()
            kernel = kernels.identify(KernelCall(name, (Shape("bf16", (1, 1, int(width))),) * 8, 1))
            if (of, kernel.kind, kernel.width, kernel.has_spans) == (chip, kind, 128, False):
                time = kernels.per_pair(kernels.Schedule(**entry), kernel, chips.CHIPS[chip])
                times[kernel.blocks] = time
        # Within a hundredth the smaller blocks win: they compile in half the time.
        assert times[used] < 1.01 * min(times.values()), times
        text = kernels.Kernel(kind, Blocks(query=used.query, key=512, step=512), True, 128)
        assert kernels.lookup(table, chips.CHIPS[chip], text)


def test_topologies_are_named_by_chip_and_sides():
    found = chips.parse("v5p:2x2x1")
    assert (found.chip.name, found.size, found.links) == ("v5p", 4, 2)
    assert chips.parse("v5e:4x4").links == 4 and chips.parse("cpu:8").size == 8


@pytest.mark.parametrize("text", ["v5p", "v9:4x4", "v5p:4x", "v5e:4x4x4", "v5e:0x4", ""])
def test_an_unknown_topology_lists_those_that_are_known(text):
    with pytest.raises(UsageError, match="v5e:4x4|v5p:4x4x4"):
        chips.parse(text)
