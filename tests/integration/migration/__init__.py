"""A project moves to the proxy: both ways, the way back, and what is still queued."""
