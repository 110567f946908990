"""Operations of `nix-store` that can build, fetch or read build logs, one theme a file."""
