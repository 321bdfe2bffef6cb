"""The public API for scripts and notebooks: compares a function with SDPA in this process. The gate never uses it."""
