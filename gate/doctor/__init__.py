"""Diagnoses this machine: what it cannot do, and how to fix it."""
