"""Mistakes that users make, and what the messages say of them."""
