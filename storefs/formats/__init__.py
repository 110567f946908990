"""File and wire formats of Nix, without any I/O: bytes or events in, values out."""
