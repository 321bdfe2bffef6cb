"""An independent clock for the candidate: a process that never loads the candidate times it and verifies its outputs.

In a replicate, the clock and the checks share a process with the candidate, which may patch them. The witness shares
only memory and a socket with the candidate's process: it writes new random inputs, sends `go`, copies the outputs,
reads its own clock, and compares every output with SDPA's. Nothing that the candidate's process reports is evidence.

    coordinator.py ─┬─ trusted_side.py    the witness: writes inputs, times, verifies; times SDPA in the same way
                    └─ candidate_side.py  the candidate: maps the memory, computes at every `go`
"""
