"""Stores in SQL databases: one set of tables and statements, and a dialect for each database."""
