"""Delivery reports come in: the receiver, and the ways to serve it."""
