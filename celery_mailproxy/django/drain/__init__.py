"""Mail that django-celery-email has queued is sent through the proxy.

    INSTALLED_APPS += ["celery_mailproxy.django.drain"]

A mail that cannot be sent becomes a dead letter in Django's database.
"""
