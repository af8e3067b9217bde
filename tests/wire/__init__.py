"""Tests of the bytes: synchronous, without a socket."""
