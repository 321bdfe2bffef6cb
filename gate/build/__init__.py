"""From a candidate's sources to a library: targets, compilers, the cache, and the machine code made."""
