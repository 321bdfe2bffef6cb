"""Why a kernel is as fast as it is: hardware counters read by Nsight Compute, and machine code.

metrics (what is counted) · program (the ncu command and its failures) · harness (what runs under it) · reading (its
output) · collect (from a request to a Profile) · derived (numbers that follow) · why (sentences that follow) ·
crosscheck (counters against the clock) · score · sass and difference (machine code) · plot and show (for readers).

From `derived` on all is pure: no torch, no GPU. Counters explain and cross-check; they never supply the gated time.
"""
