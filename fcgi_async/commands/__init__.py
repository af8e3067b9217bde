"""The commands of `fcgi-async`: one file each, and what they share."""

__all__ = ()
