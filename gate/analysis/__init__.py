"""Derives numbers and explanations from the evidence: comparisons, counters, roofline. Pure."""
