"""The demo: PHP over every file of Python's standard library, checked against what Python counts itself."""

__all__ = ()
