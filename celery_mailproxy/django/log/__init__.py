"""The log of mails in Django's database, and the store that keeps deliveries there."""
