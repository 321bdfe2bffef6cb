import subprocess
import sys

from gate.profiling.torch_trace import trace_call
from gate.runtime.device import open_device
from gate.runtime.implementations import SdpaBackend
from tests.support import examples


def test_a_trace_on_the_cpu_names_the_operator_that_ran():
    for backend, operator in (("flash", "flash_attention_for_cpu"), ("math", "attention_math")):
        seen = trace_call(open_device("cpu"), f"sdpa:{backend}", SdpaBackend(backend), examples.workload())
        assert seen.implementation == f"sdpa:{backend}"
        assert len(seen.kernels) == 1
        assert operator in seen.kernels[0]
        assert seen.refusal == ""


def test_no_time_by_the_devices_clock_is_made_up_on_the_cpu():
    assert trace_call(open_device("cpu"), "sdpa:flash", SdpaBackend("flash"), examples.workload()).kernel_ms is None


def test_a_trace_does_not_wait_for_torchs_compiler():
    """It would cost every process that is traced more than a second."""
    code = (
        "import sys, tests.profiling.test_torch_trace as t; t.test_a_trace_on_the_cpu_names_the_operator_that_ran();"
        "print('torch._inductor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
