"""From Django's `EmailMessage` to a task on the broker."""
