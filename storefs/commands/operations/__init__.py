"""What `nix-store` and the `verglas` verbs do to a store, one theme a file; each function serves one operation."""
