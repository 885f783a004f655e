"""From a task's arguments to the proxy."""
