"""What does not change: the broker, and the SMTP server that the project has always sent by."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ["SHOP_FOLDER"])

SECRET_KEY = "only for this example"
USE_TZ = True
DEFAULT_FROM_EMAIL = "The Teapot Shop <shop@example.com>"
SMTP_HOST, SMTP_PORT = "127.0.0.1", int(os.environ["SHOP_SMTP_PORT"])

CELERY_BROKER_URL = os.environ["SHOP_BROKER_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# No limit. Where one is reached while kombu has asked Redis for a task, the task's message waits in the connection, in
# neither list: who is killed then takes it along. With retries in hand the limit goes down, so that it is soon reached.
CELERY_WORKER_PREFETCH_MULTIPLIER = 0

if CELERY_BROKER_URL.startswith("filesystem"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(FOLDER / "broker"),
        "data_folder_out": str(FOLDER / "broker"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.1,
    }
else:
    # Redis gives the tasks of a dead worker back after this time. It has to be longer than a retry waits, which the
    # worker holds as long: else that one is given out twice. An hour is the default.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 3600,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
