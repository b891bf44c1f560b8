"""Measurements: each prints its figures beside those of an anchor, from one run."""
