"""A mail: its arguments, checked, and the payload that the proxy gets."""
