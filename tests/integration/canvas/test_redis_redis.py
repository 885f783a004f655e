"""Redis as the broker, results in Redis."""

from .chords import *  # noqa: F403
from .constructs import *  # noqa: F403
from .notified import *  # noqa: F403
from .results import *  # noqa: F403
from .stored import *  # noqa: F403

BROKER = "redis"
BACKEND = "redis"
