"""Durable jobs: jobs that are kept in a database until they are done."""
