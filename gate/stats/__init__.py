"""Statistics of repeated timings: arrays in, small frozen records out. No torch, no GPU, no files."""
