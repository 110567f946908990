"""The Nix language: from text to values to derivations."""
