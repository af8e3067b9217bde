"""Queueing, running and retrying jobs, and collecting their responses."""
