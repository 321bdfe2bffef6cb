"""Correctness: the oracle, the checks of one answer, fuzzing, shrinking, the sanitizers."""
