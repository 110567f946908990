"""The server side of the worker protocol: one store for several users."""
