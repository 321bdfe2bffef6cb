"""GPU properties and telemetry from the driver; a value that it does not report is null."""

import contextlib
import hashlib
from dataclasses import replace

import pytest

from gate.errors import UnfitEnvironmentError
from gate.machine import nvml
from gate.records import Gpu, GpuState, Telemetry
from gate.records.codec import from_json, to_json
from gate.records.gpu import COUNTERS
from tests.support import examples, nvml_fake
from tests.support.nvml_fake import FakeGpu, FakeNvml

OURS, OTHERS = 100, 200
SLICE = "MIG-9f2b1c44-aaaa-bbbb-cccc-333344445555"


@pytest.fixture
def fake(monkeypatch):
    """One idle L4."""
    return FakeNvml().install(monkeypatch)


@pytest.fixture
def two(monkeypatch):
    return FakeNvml(
        FakeGpu(uuid="GPU-aaaa-1"), FakeGpu(name="NVIDIA H200", uuid="GPU-bbbb-2", slices=(SLICE,))
    ).install(monkeypatch)


@pytest.fixture
def in_a_container(monkeypatch):
    monkeypatch.setattr(nvml, "_pids_are_the_hosts", lambda: False)


@pytest.fixture
def on_the_host(monkeypatch):
    monkeypatch.setattr(nvml, "_pids_are_the_hosts", lambda: True)


def test_a_gpu_is_described_with_units(fake):
    assert nvml.describe_gpu(0) == Gpu(
        model="NVIDIA L4",
        uuid_hash=hashlib.sha256(fake.gpus[0].uuid.encode()).hexdigest()[:16],
        compute_capability="8.9",
        memory_bytes=23034 << 20,
        driver="580.159.03",
        sm_clock_mhz=210,
        sm_clock_max_mhz=2040,
        memory_clock_mhz=405,
        memory_clock_max_mhz=6251,
        memory_bus_bits=192,
        power_limit_w=72.0,
        ecc=True,
        mig=False,
        persistence=True,
        throttle_reasons=("gpu_idle",),
    )


def test_no_record_contains_the_uuid(fake):
    assert fake.gpus[0].uuid.removeprefix("GPU-")[:8] not in to_json(nvml.describe_gpu(0))
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        Gpu("NVIDIA L4", fake.gpus[0].uuid, "8.9")


def test_records_of_a_gpu_survive_their_json(fake):
    seen = nvml.describe_gpu(0)
    assert from_json(Gpu, to_json(seen), "test") == seen
    telemetry = Telemetry(nvml.read_telemetry(0), nvml.read_telemetry(0))
    assert from_json(Telemetry, to_json(telemetry), "test") == telemetry


def test_telemetry_is_the_present_state(fake, on_the_host):
    fake.gpus[0].reasons, fake.gpus[0].pids = 0x20 | 0x4, (OURS, OTHERS)
    fake.gpus[0].violations_ns[1] = 7
    assert nvml.read_telemetry(0, {OURS}) == GpuState(
        sm_clock_mhz=210,
        memory_clock_mhz=405,
        temperature_c=41,
        power_w=16.5,
        throttle_reasons=("sw_power_cap", "sw_thermal_slowdown"),
        throttled_ns={"power": 0, "thermal": 7, "sync_boost": 0, "board_limit": 0, "reliability": 0},
        ecc_errors=0,
        foreign_processes=1,
        recovery_action="none",
    )


REASONS = {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"}
TO_REACH_A_GPU = {"nvmlInit", "nvmlShutdown", "nvmlDeviceGetHandleByIndex"}
OPTIONAL = {
    "nvmlDeviceGetMemoryInfo": "memory_bytes",
    "nvmlSystemGetDriverVersion": "driver",
    "nvmlDeviceGetClockInfo": "sm_clock_mhz",
    "nvmlDeviceGetMaxClockInfo": "memory_clock_max_mhz",
    "nvmlDeviceGetMemoryBusWidth": "memory_bus_bits",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_w",
    "nvmlDeviceGetEccMode": "ecc",
    "nvmlDeviceGetMigMode": "mig",
    "nvmlDeviceGetPersistenceMode": "persistence",
}


@pytest.mark.parametrize("error", [nvml_fake.NOT_SUPPORTED, nvml_fake.NO_PERMISSION, nvml_fake.UNKNOWN])
@pytest.mark.parametrize(("function", "field"), OPTIONAL.items())
def test_properties_that_a_gpu_does_not_report_are_null(function, field, error, fake):
    fake.errors[function] = error
    assert getattr(nvml.describe_gpu(0), field) is None


@pytest.mark.parametrize(
    ("functions", "fields"),
    [
        ({"nvmlDeviceGetTemperature"}, {"temperature_c"}),
        ({"nvmlDeviceGetPowerUsage"}, {"power_w"}),
        ({"nvmlDeviceGetClockInfo"}, {"sm_clock_mhz", "memory_clock_mhz"}),
        ({"nvmlDeviceGetTotalEccErrors"}, {"ecc_errors"}),
        ({"nvmlDeviceGetViolationStatus"}, {"throttled_ns"}),
        ({"nvmlDeviceGetComputeRunningProcesses"}, {"foreign_processes"}),
        (REASONS, {"throttle_reasons"}),
        (set(nvml_fake.ANSWERS) - TO_REACH_A_GPU, set(COUNTERS)),
    ],
)
@pytest.mark.parametrize("error", [nvml_fake.NOT_SUPPORTED, nvml_fake.NO_PERMISSION, nvml_fake.UNKNOWN])
def test_unsupported_telemetry_is_null_and_the_rest_is_measured(functions, fields, error, fake):
    fake.gpus[0].pids = (OTHERS,)
    fake.errors.update(dict.fromkeys(functions, error))
    seen = nvml.read_telemetry(0)
    assert set(seen.unmeasured) == fields
    assert from_json(GpuState, to_json(seen), "test") == seen


def test_zero_and_empty_telemetry_is_not_null(fake):
    fake.gpus[0].reasons = 0
    seen = nvml.read_telemetry(0)
    assert (seen.throttle_reasons, seen.foreign_processes, seen.recovery_action) == ((), 0, "none")
    assert not seen.unmeasured


@pytest.mark.parametrize("function", ["nvmlDeviceGetMPSComputeRunningProcesses", "nvmlDeviceGetFieldValues"])
def test_a_driver_without_mps_or_recovery_actions_hides_nothing(function, fake):
    fake.errors[function] = nvml_fake.NOT_SUPPORTED
    seen = nvml.read_telemetry(0)
    assert (seen.unmeasured, seen.needs) == ((), None)


@pytest.mark.parametrize(("number", "unmeasured"), [(0, ()), (1, ("throttled_ns",)), (3, ("throttled_ns",)), (5, ())])
def test_a_counter_that_a_gpu_lacks_is_null_and_matters_where_it_would_show_a_disturbance(number, unmeasured, fake):
    del fake.gpus[0].violations_ns[number]
    seen = nvml.read_telemetry(0)
    assert list(seen.throttled_ns.values()).count(None) == 1
    assert seen.unmeasured == unmeasured


def test_an_older_pynvml_without_a_function_is_no_error(fake):
    fake.missing |= {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMemoryBusWidth"}
    seen = nvml.describe_gpu(0)
    assert seen.throttle_reasons == ("gpu_idle",)  # by the older name
    assert seen.memory_bus_bits is None


@pytest.mark.parametrize(("number", "name"), [(1, "gpu_reset"), (4, "drain_and_reset"), (77, "action 77")])
def test_a_recovery_action_is_named(number, name, fake):
    fake.gpus[0].recovery_action = number
    assert nvml.read_telemetry(0).recovery_action == name


FATAL = {
    nvml_fake.NOT_LOADED: "modprobe",
    nvml_fake.NO_LIBRARY: "install it, or use --device cpu",
    nvml_fake.LOST: "lost.*reboot",
    nvml_fake.RESET_REQUIRED: "--gpu-reset",
    nvml_fake.MISMATCH: "reboot after the upgrade",
    nvml_fake.UNKNOWN: "nvidia-smi",
}


@pytest.mark.parametrize(("error", "remedy"), FATAL.items())
def test_a_driver_that_does_not_start_makes_the_machine_unfit_and_says_what_to_do(error, remedy, fake):
    fake.errors["nvmlInit"] = error
    for ask in (nvml.visible_index, lambda: nvml.describe_gpu(0), lambda: nvml.read_telemetry(0)):
        with pytest.raises(UnfitEnvironmentError, match=remedy) as raised:
            ask()
        assert raised.value.exit_code == 69


@pytest.mark.parametrize("error", [nvml_fake.LOST, nvml_fake.RESET_REQUIRED])
@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo"]
)
def test_a_gpu_lost_meanwhile_is_an_error_and_not_an_unsupported_query(function, error, fake):
    fake.errors[function] = error
    with pytest.raises(UnfitEnvironmentError, match="reboot"):
        nvml.read_telemetry(0)


@pytest.mark.parametrize("error", [None, nvml_fake.LOST])
def test_every_session_is_closed(error, fake):
    fake.errors.update({"nvmlDeviceGetTemperature": error} if error else {})
    with nvml.initialised():
        with pytest.raises(UnfitEnvironmentError) if error else contextlib.nullcontext():
            nvml.read_telemetry(0)
        assert fake.sessions == 1
    assert fake.sessions == 0


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA L4", "NVIDIA H200"]),
        ("1", ["NVIDIA H200"]),
        ("1,0", ["NVIDIA H200", "NVIDIA L4"]),
        (" 1 , 0 ", ["NVIDIA H200", "NVIDIA L4"]),
        ("GPU-bbbb-2", ["NVIDIA H200"]),
        ("GPU-bb", ["NVIDIA H200"]),
        (SLICE, ["NVIDIA H200"]),
        ("0,7,1", ["NVIDIA L4"]),
        ("", []),
        ("-1", []),
        ("7", []),
        ("GPU-cc", []),
        ("MIG-unknown", []),
    ],
)
def test_visible_gpus_are_listed_in_cudas_order(visible, names, two, monkeypatch):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml.gpu_names() == names
    if names:
        assert nvml.describe_gpu(nvml.visible_index()).model == names[0]
    else:
        with pytest.raises(UnfitEnvironmentError, match=f"CUDA_VISIBLE_DEVICES={visible} leaves no GPU visible"):
            nvml.visible_index()


def test_without_a_driver_there_are_no_gpus(fake):
    fake.errors["nvmlInit"] = nvml_fake.NO_LIBRARY
    assert nvml.gpu_names() == []


def test_without_a_gpu_none_is_visible(monkeypatch):
    empty = FakeNvml().install(monkeypatch)
    empty.gpus = ()
    with pytest.raises(UnfitEnvironmentError, match="NVML finds no GPU"):
        nvml.visible_index()


@pytest.mark.parametrize(
    ("pids", "own", "foreign"),
    [((), (), 0), ((OURS,), (OURS,), 0), ((OURS, OTHERS), (OURS,), 1), ((OTHERS,), (OURS,), 1)],
)
def test_on_the_host_every_process_that_is_not_ours_is_foreign(pids, own, foreign, fake, on_the_host):
    fake.gpus[0].pids = pids
    assert nvml.read_telemetry(0, own).foreign_processes == foreign


@pytest.mark.parametrize(
    ("pids", "own", "foreign"),
    [
        ((70001,), (OURS,), 0),
        ((70001, 70002), (OURS,), 1),
        ((OURS, 70002), (OURS,), 1),
        ((70001,), (), 1),
        ((), (OURS,), 0),
    ],
)
def test_in_a_container_our_processes_may_have_other_ids(pids, own, foreign, fake, in_a_container):
    fake.gpus[0].pids = pids
    assert nvml.read_telemetry(0, own).foreign_processes == foreign


def test_processes_behind_mps_are_foreign_too(fake, on_the_host):
    fake.gpus[0].mps_pids = (OTHERS,)
    assert nvml.read_telemetry(0).foreign_processes == 1


def telemetry(before=None, after=None):
    return Telemetry(GpuState(**before or {}), GpuState(**after or {}))


@pytest.mark.parametrize(
    "reasons", [(), ("gpu_idle",), ("applications_clocks_setting",), ("sw_power_cap",), ("sync_boost", "gpu_idle")]
)
def test_a_gpu_that_idles_or_works_to_its_power_limit_is_not_disturbed(reasons):
    same = {"throttle_reasons": reasons}
    assert telemetry(same, same).disturbances == ()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "reason", ["hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"]
)
def test_throttling_disturbs_a_replicate(reason, when):
    looks = telemetry(**{when: {"throttle_reasons": ("gpu_idle", reason)}})
    assert looks.disturbances == (f"throttled ({reason})",)


def test_the_same_reason_is_named_once():
    hot = {"throttle_reasons": ("hw_slowdown",)}
    assert telemetry(hot, hot).disturbances == ("throttled (hw_slowdown)",)


@pytest.mark.parametrize("policy", ["thermal", "board_limit"])
def test_throttling_between_two_readings_shows_in_its_counter(policy):
    assert telemetry({"throttled_ns": {policy: 5}}, {"throttled_ns": {policy: 6}}).disturbances == (
        f"throttled ({policy})",
    )
    assert telemetry({"throttled_ns": {policy: 5}}, {"throttled_ns": {policy: 5}}).disturbances == ()


def test_a_counter_read_only_once_shows_no_throttling():
    assert telemetry({}, {"throttled_ns": {"thermal": 5}}).disturbances == ()
    assert telemetry({"throttled_ns": {"thermal": None}}, {"throttled_ns": {"thermal": 5}}).disturbances == ()


def test_a_replicates_disturbances_come_from_the_readings_before_and_after_it():
    whole = examples.gpu_state()
    assert Telemetry(whole, whole).unmeasured == ()
    assert Telemetry(whole, replace(whole, power_w=None)).unmeasured == ("power_w",)
    assert Telemetry(replace(whole, throttled_ns={}), whole).unmeasured == ("throttled_ns",)


@pytest.mark.parametrize("policy", ["power", "reliability", "sync_boost"])
def test_a_cap_is_a_warning_and_no_disturbance(policy):
    looks = telemetry({"throttled_ns": {policy: 5}}, {"throttled_ns": {policy: 6}})
    assert looks.disturbances == ()
    assert looks.warnings == (f"clocks were capped ({policy})",)


def test_a_power_cap_that_shows_in_two_counters_is_named_once():
    capped = {"throttle_reasons": ("sw_power_cap",)}
    looks = telemetry({**capped, "throttled_ns": {"power": 1}}, {"throttled_ns": {"power": 2}})
    assert looks.warnings == ("clocks were capped (power)",)


@pytest.mark.parametrize(("degrees", "warned"), [(None, False), (80, False), (81, True)])
def test_heat_is_a_warning_over_80_degrees(degrees, warned):
    assert bool(telemetry(after={"temperature_c": degrees}).warnings) == warned


@pytest.mark.parametrize("when", ["before", "after"])
def test_another_process_on_the_gpu_disturbs_a_replicate(when):
    assert telemetry(**{when: {"foreign_processes": 2}}).disturbances == ("other processes on the GPU (2)",)


@pytest.mark.parametrize(
    ("before", "after", "grew"), [(0, 1, True), (3, 3, False), (None, 1, False), (1, None, False)]
)
def test_ecc_errors_disturb_when_they_grow(before, after, grew):
    looks = telemetry({"ecc_errors": before}, {"ecc_errors": after})
    assert bool(looks.disturbances) == grew


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_gpu_that_needs_recovery_disturbs(when):
    said = telemetry(**{when: {"recovery_action": "gpu_reset"}}).disturbances
    assert telemetry(**{when: {"recovery_action": "none"}}).disturbances == ()
    assert said == ("the GPU needs recovery (gpu_reset)",)


def test_every_disturbance_is_listed():
    bad = {
        "throttle_reasons": ("hw_slowdown",),
        "foreign_processes": 1,
        "ecc_errors": 1,
        "recovery_action": "gpu_reset",
    }
    assert len(telemetry({"ecc_errors": 0}, bad).disturbances) == 4


@pytest.mark.parametrize("spoiled", [{"foreign_processes": -1}, {"ecc_errors": -1}, {"throttled_ns": {"power": -1}}])
def test_a_count_is_not_negative(spoiled):
    with pytest.raises(ValueError, match="a count lies"):
        GpuState(**spoiled)


@pytest.mark.parametrize("capability", ["9", "sm_90", "8.9a", ""])
def test_a_compute_capability_is_two_numbers(capability):
    with pytest.raises(ValueError, match=r"like 8\.9"):
        Gpu("NVIDIA L4", "0" * 16, capability)


def test_capabilities_compare_as_numbers():
    assert Gpu("a", "0" * 16, "12.0").capability > Gpu("b", "1" * 16, "8.9").capability
