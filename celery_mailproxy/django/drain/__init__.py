"""Mail that django-celery-email has queued goes through the proxy.

    INSTALLED_APPS += ["celery_mailproxy.django.drain"]

What cannot be sent is kept as a dead letter, in Django's database.
"""
