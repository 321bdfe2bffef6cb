"""The commands of `kernel-gate`, one a file: parse, call the library, write a file, set the exit code."""
