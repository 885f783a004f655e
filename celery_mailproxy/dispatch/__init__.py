"""Telling the application what became of a mail: signals, callbacks, results, events."""
