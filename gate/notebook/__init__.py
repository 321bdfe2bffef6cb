"""The public API for scripts and notebooks: one function against SDPA, in this process. No gate imports it."""
