"""What comes back: bounces and complaints, read from the mailbox that they are sent to."""
