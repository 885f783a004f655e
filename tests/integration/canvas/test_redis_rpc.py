"""Redis as the broker, results by messages (`rpc://`), which has no chords."""

from .constructs import *  # noqa: F403
from .notified import *  # noqa: F403
from .results import *  # noqa: F403

BROKER = "redis"
BACKEND = "rpc"
