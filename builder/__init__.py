"""From a derivation to registered outputs: scheduling, sandboxes, logs."""
