"""Parts of one look: what is observed, done, doubted and read of the past. The look is reconciler.py."""
