"""Verbs that may build. One file per verb."""
