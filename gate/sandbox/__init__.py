"""Processes for candidates: the fork server, its client, confinement, calls and their messages."""
