"""What other packages make of celery-mailproxy; each module needs the extra of its name."""
