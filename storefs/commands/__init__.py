"""Verbs that need nothing above the store. One file per verb."""
