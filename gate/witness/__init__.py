"""A witness to the candidate's speed: a process that never loads the candidate owns inputs, outputs and a clock.

In a replicate, clock and checks share a process with the candidate, which may patch either. The witness shares with
it nothing but memory and a line of text: it fills inputs that nobody has seen, says `go`, reads its own clock once it
has the outputs, and holds each against SDPA. What the candidate's process says of itself plays no part.

    coordinator.py ─┬─ trusted_side.py    the witness: fills, clocks, verifies; times SDPA in the same way, alone
                    └─ candidate_side.py  the candidate: maps the memory, computes when told to
"""
