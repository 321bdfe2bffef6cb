"""The machine: the operating system's view, the driver's view, locks, clocks, tools."""
