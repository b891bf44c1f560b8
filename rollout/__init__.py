"""A staged-rollout controller: promotes region by region, judges, rolls back, recovers."""

__version__ = "0.1.0"
