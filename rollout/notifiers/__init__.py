"""One file per plugin; each registers itself and knows nothing of the others."""
