"""What was measured: stored, judged, and written as pages."""
