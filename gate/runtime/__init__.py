"""What runs a candidate on a device: devices, implementations, inputs, guarded tensors."""
