"""The parts of `celery_mailproxy.testing.FakeProxy`."""
