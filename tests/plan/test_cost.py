"""If these fail, the plan counts work that is not there or misses some that is."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.plan import hlo
from sora_jax.plan.cost import cost
from sora_jax.sharding import mesh as meshes

# As TPU programs are: a product is a convolution, loops carry no length, exchanges have a start.
PROGRAM = Path(__file__).with_name("loop.hlo.txt").read_text()
TURNS = 7  # from 0 to 13 by 2


def test_a_tpu_loop_counts_in_full():
    """Its length stands in condition and body: products and cycles of the body times that."""
    found = cost(hlo.parse(PROGRAM))
    assert found.flops == TURNS * 2 * 4096 * 256 * 512
    assert found.cycles == TURNS * 1000
    assert found.unknown_loops == 0


def test_an_exchange_beside_other_work_counts_once_a_turn():
    """Only where it starts: each of four chips sends its part to the three others."""
    (found,) = cost(hlo.parse(PROGRAM)).collectives
    assert (found.kind, found.times, found.group) == ("all-gather", TURNS, 4)
    assert found.sent == 3 * 64 * 512 * 2 and found.is_hidden


def test_a_sum_of_which_each_chip_keeps_a_slice_is_a_reduce_scatter():
    """A TPU program has it as a fusion of the whole sum and the slice; half of a sum is sent."""
    text = """HloModule m

%all-reduce-scatter (input: f32[8,64,96]) -> f32[8,64,24] {
  %input = f32[8,64,96] parameter(0)
  %all-reduce.1 = f32[8,64,96] all-reduce(%input), replica_groups={{0,1,2,3}}, to_apply=%add
  %zero = u32[] constant(0)
  %at = u32[] partition-id()
  ROOT %own = f32[8,64,24] dynamic-slice(%all-reduce.1, %zero, %zero, %at)
}

ENTRY %main (x: f32[8,64,96]) -> f32[8,64,24] {
  %x = f32[8,64,96] parameter(0)
  ROOT %f = f32[8,64,24] fusion(%x), kind=kCustom, calls=%all-reduce-scatter
}
"""
    (found,) = cost(hlo.parse(text)).collectives
    assert (found.kind, found.group, found.times) == ("reduce-scatter", 4, 1)
    assert found.sent == 3 * 8 * 64 * 24 * 4
    assert not cost(hlo.parse(text.replace("dynamic-slice(", "negate("))).collectives


def test_unknown_cycles_are_named_and_not_added():
    """INT64_MAX says that the compiler does not know: a small result is passed over."""
    larger = PROGRAM.replace("%fusion.2 = bf16[256,512]", "%fusion.2 = bf16[2560,512]")
    found = cost(hlo.parse(larger))
    assert found.cycles == TURNS * 1000
    assert found.without_estimate == {"fusion": TURNS}


def test_a_loop_without_a_readable_end_is_said():
    found = cost(hlo.parse(PROGRAM.replace("constant(13)", "parameter(1)")))
    assert found.unknown_loops == 1 and found.cycles == 1000


def test_a_strided_window_counts_what_meets_it():
    """A product of batches is written as a window over gaps: only real pairs are multiplied."""
    text = """HloModule m

ENTRY %main (x: bf16[8,512,2,256], y: bf16[2,256,4096,1]) -> bf16[8,512,4096,1] {
  %x = bf16[8,512,2,256] parameter(0)
  %y = bf16[2,256,4096,1] parameter(1)
  ROOT %c = bf16[8,512,4096,1] convolution(%x, %y), window={size=1x2}, dim_labels=0b1f_1io0->0bf1
}
"""
    assert cost(hlo.parse(text)).flops == 2 * 8 * 512 * 4096 * (2 * 256)


def test_a_scan_of_products_on_this_machine():
    """A real program: XLA's own count takes the body once."""

    def many(x, ws):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]

    x, ws = jnp.zeros((64, 128)), jnp.zeros((5, 128, 128))
    text = jax.jit(many).lower(x, ws).compile().as_text()
    assert cost(hlo.parse(text)).flops == 5 * 2 * 64 * 128 * 128


def test_gathered_bytes_on_eight_devices():
    mesh = meshes.make_mesh(meshes.MeshConfig())
    whole, split = meshes.replicated(mesh), NamedSharding(mesh, P("fsdp"))
    x = jax.ShapeDtypeStruct((1024, 16), jnp.float32, sharding=split)
    compiled = jax.jit(lambda x: x, out_shardings=whole).lower(x).compile()
    (found,) = cost(hlo.parse(compiled.as_text())).collectives
    assert (found.kind, found.group) == ("all-gather", 8)
    assert found.sent == 7 * 128 * 16 * 4


def test_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("HloModule nothing\n")
