"""The machine: facts from the operating system and from the NVIDIA driver, locks, clocks, CUDA's programs."""
