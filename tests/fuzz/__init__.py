"""Fuzzing of the wire: `python -m tests.fuzz` gives each parser inputs that Hypothesis builds, and writes a page."""
