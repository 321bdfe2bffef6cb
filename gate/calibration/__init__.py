"""Replays decision rules over recorded trials to measure false alarms and power."""
