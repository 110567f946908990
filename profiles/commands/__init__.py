"""Verbs that manage profiles and channels. One file per verb."""
