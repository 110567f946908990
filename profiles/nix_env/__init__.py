"""What `nix-env` does, verb by verb, as real nix-env 2.8 does it; `commands/nix_env.py` is its command line."""
