"""What this machine can and cannot do, and how to fix it."""
