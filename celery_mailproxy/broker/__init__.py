"""What the package knows of message brokers: publications that they confirm, and queues on which tasks wait."""
