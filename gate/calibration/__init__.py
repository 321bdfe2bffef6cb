"""Decision rules replayed over recorded trials: how often each is wrong, and what it can find."""
