"""The move from django-celery-email to the proxy, run for real: `python -m examples.migration`."""
