"""Constants of nvml.h, and their meanings.

They belong to the driver's stable interface; pynvml 12 does not define all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

REMEDIES: Mapping[int, str] = {
    9: "the NVIDIA driver is not loaded; run `modprobe nvidia`, or install it",
    12: "no NVIDIA driver is installed; install it, or use --device cpu if the candidate runs on a CPU",
    15: "the GPU is lost (`dmesg | grep Xid` shows the cause); reboot the machine",
    16: "the GPU must be reset; end the processes that use it and run `nvidia-smi --gpu-reset`, or reboot",
    18: "the NVIDIA driver and its library have different versions; reboot after the upgrade",
}
"""NVML's errors after which Kernel Gate cannot measure on this GPU, with their remedies."""
CLOCK_SM, CLOCK_MEMORY, TEMPERATURE_GPU, UNCORRECTED, VOLATILE = 1, 2, 0, 1, 0
APPLICATION_CLOCK_DEFAULT = 2
FIELD_RECOVERY_ACTION = 230
THROTTLE_REASONS: Mapping[int, str] = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
POLICIES: Mapping[str, int] = {"power": 0, "thermal": 1, "sync_boost": 2, "board_limit": 3, "reliability": 5}
RECOVERY_ACTIONS: Mapping[int, str] = {
    0: "none",
    1: "gpu_reset",
    2: "node_reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "bus_reset",
    7: "system_reboot",
}
