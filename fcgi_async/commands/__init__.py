"""The commands of `fcgi-async`, one file each, and the code that they share."""

__all__ = ()
