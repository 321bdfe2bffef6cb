"""The measuring stages: replicates, trials, and the pipeline through all of them."""
