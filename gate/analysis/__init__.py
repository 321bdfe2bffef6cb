"""What follows from the evidence: comparisons, counters, the roofline, explanations. Pure."""
