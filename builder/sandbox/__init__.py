"""The private world in which a builder runs: a printable plan, and the child that executes it."""
