"""Calls of PHP functions."""
