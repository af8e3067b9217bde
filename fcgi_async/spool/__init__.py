"""Temporary files for data that is too large for memory, and a limit for all of them together."""
