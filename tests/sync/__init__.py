"""The dispatcher for threads."""
