"""From a declared profile to the generation that is live."""
