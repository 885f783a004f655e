"""Stores on real servers and in several processes."""
