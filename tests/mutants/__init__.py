"""Bugs of our own, planted one at a time in a copy of the product: a named test must notice each.

The bugs are the TOML files here, by layer. What must not live here: tests of the product.
"""
