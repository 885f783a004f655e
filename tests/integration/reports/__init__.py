"""Delivery reports come in: the worker's listener and its server."""
