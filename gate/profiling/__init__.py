"""Reads hardware counters with Nsight Compute, and traces kernels with torch's profiler.

ncu (the command and its failures) · ncu_target (the program that runs under it) · ncu_output (its output) · collect
(a request to Profiles) · stage (profiles for a measurement) · command (`kernel-gate profile`) · torch_trace and
trace_request (kernels of a call). Counters explain and cross-check; they never supply the gated time.
"""
