"""What the package knows of message brokers."""
