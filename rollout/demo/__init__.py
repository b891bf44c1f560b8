"""A sample regional service, its load, and three regions on one machine; the controller needs none of it."""
