"""Turns evidence into a verdict: gates, judge, admission, regression. Pure: no process, no network, no torch."""
