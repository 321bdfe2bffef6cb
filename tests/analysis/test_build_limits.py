"""Which builds may be timed under the policy's limits on resources."""

import pytest

from gate.analysis.build_limits import has_limits, may_be_timed
from gate.records import Build, KernelResources, ResourceLimits, Status

REGISTERS = ResourceLimits(max_registers=128)


def cuda_build(*registers: int) -> Build:
    resources = tuple(KernelResources("attention", "8.9", number, 0, 0, 0, 0) for number in registers)
    return Build("mine", Status.OK, architectures=("8.9",), resources=resources)


@pytest.mark.parametrize(
    ("build", "limits", "expected"),
    [
        (cuda_build(128), REGISTERS, True),
        (cuda_build(255), ResourceLimits(), True),
        (cuda_build(64, 129), REGISTERS, False),
        (cuda_build(), REGISTERS, False),  # the compiler reported nothing
        (Build("mine", Status.OK), REGISTERS, True),  # for a CPU
        (Build("mine", Status.BUILD_FAILED, "no such file"), ResourceLimits(), False),
    ],
)
def test_a_build_is_timed_if_it_succeeded_and_every_kernel_keeps_to_its_limits(build, limits, expected):
    assert may_be_timed(build, limits) is expected


def test_limits_apply_to_code_for_a_gpu_alone():
    assert has_limits(cuda_build(), REGISTERS)
    assert not has_limits(cuda_build(), ResourceLimits())
    assert not has_limits(Build("mine", Status.OK), REGISTERS)
