"""Implementations of `storefs.api.Store`, and what copies between them."""
