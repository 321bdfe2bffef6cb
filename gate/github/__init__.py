"""What Kernel Gate says on GitHub, and how it reads what GitHub says."""
