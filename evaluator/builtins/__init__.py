"""Builtin functions that are not hot enough to be compiled, one theme per file."""
