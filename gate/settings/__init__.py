"""gate.toml: the model of the settings, and loading them."""
