"""Slots and connections of one FPM pool."""
