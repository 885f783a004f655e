"""Redis as the broker, no result backend."""

from .constructs import *  # noqa: F403

BROKER = "redis"
BACKEND = "none"
