"""Runs an implementation on a device: devices, implementations, inputs, guarded tensors."""
