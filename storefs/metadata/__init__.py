"""The LMDB environment: what is valid, what refers to what, and how trees look."""
