"""A migration in Django: mails through the proxy, or through the backend that the project had before."""
