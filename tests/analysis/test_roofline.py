"""What a device cannot beat."""

from dataclasses import replace

import pytest

from gate.analysis.roofline import floor_ms
from gate.records import Gpu, Workload

L4 = Gpu(
    "NVIDIA L4", "0" * 16, "8.9", sm_count=58, sm_clock_max_mhz=2040, memory_clock_max_mhz=6251, memory_bus_bits=192
)


def test_short_sequences_are_bound_by_reading_the_inputs():
    small = Workload(1, 8, 64, 64)
    inputs = 3 * 8 * 64 * 64 * 2
    assert floor_ms(small, L4) == pytest.approx(1e3 * inputs / 300.048e9)  # the L4's data sheet: 300 GB/s


def test_long_sequences_are_bound_by_the_tensor_cores():
    large = Workload(32, 8, 4096, 64)
    assert floor_ms(large, L4) == pytest.approx(1e3 * large.flops / 121e12, rel=0.01)  # its data sheet: 121 TFLOP/s


def test_single_precision_has_half_the_peak():
    large = Workload(32, 8, 4096, 64, "float32")
    assert floor_ms(large, L4) == pytest.approx(2 * floor_ms(replace(large, dtype="float16"), L4))


def test_what_is_not_known_bounds_nothing():
    workload = Workload(1, 8, 512, 64)
    unheard_of = replace(L4, compute_capability="99.0")
    assert floor_ms(workload, unheard_of) == floor_ms(workload, replace(L4, sm_count=None))
    assert floor_ms(workload, Gpu("?", "0" * 16, "99.0")) is None
