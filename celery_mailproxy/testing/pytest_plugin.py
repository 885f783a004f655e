"""Fixtures for the users' own tests."""
