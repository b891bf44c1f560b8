"""The pure core: facts in, values out.

No clock, network, database, logger or randomness lives here; `now` is always an argument.
"""
