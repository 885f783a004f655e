"""RabbitMQ as the broker, no result backend."""

from .constructs import *  # noqa: F403

BROKER = "rabbitmq"
BACKEND = "none"
