"""Tests of clusters of database servers, in networks of their own."""
