"""Candidates as their folders describe them: the registry, tunables, architectures."""
