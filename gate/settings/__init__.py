"""gate.toml: the model of the settings, and how they are loaded."""
