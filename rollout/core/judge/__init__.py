"""Samples → evidence → verdict. Pure numbers: the same input gives the same bits on any machine.

What must not live here: reading sources, deciding what to do about a verdict, wording for people.
"""
