"""What was measured, as a page, as charts and as a budget; nothing here measures."""
