"""Fuzzing of the wire: `python -m tests.fuzz` feeds each parser inputs that a grammar mutates and new branches keep."""
