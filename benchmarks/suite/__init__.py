"""Runs contenders side by side: what there is to run, what it needs, and the figures as they come."""
