"""What is alive, and how the rest is removed."""
