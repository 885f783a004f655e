"""What workers do by themselves, one of them at a time: publish again, resume, forget."""
