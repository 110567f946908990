"""A driver for tests in virtual machines, with the Python API of the NixOS test driver. Knows nothing of Verglas."""
