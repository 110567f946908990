"""Verbs that evaluate. One file per verb."""
