"""Redis as the broker, results in a database."""

from .chords import *  # noqa: F403
from .constructs import *  # noqa: F403
from .results import *  # noqa: F403
from .stored import *  # noqa: F403

BROKER = "redis"
BACKEND = "sqlalchemy"
