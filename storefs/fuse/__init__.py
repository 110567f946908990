"""The store as a read-only file system: one view, two transports."""
