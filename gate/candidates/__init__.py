"""The registry of candidates, their tunables, launch sizes and architectures."""
