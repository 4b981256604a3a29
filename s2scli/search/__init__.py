"""Searches for outputs."""
