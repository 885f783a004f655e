"""Mails go out, and their outcomes come back; also while things die."""
