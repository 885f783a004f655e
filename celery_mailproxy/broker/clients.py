"""The client library of a broker that is not installed: kombu names the module, and not what to install."""

from __future__ import annotations

from celery import Celery

from ..errors import ConfigurationError

__all__ = ["check_client", "missing_client"]

#: What kombu imports for Redis; from 5.6 on packaging, too, which nothing else brings along.
_OF_REDIS = frozenset({"packaging", "redis"})


def missing_client(exc: ImportError) -> ConfigurationError | None:
    """The error that says what to install; None where something else cannot be imported."""
    # kombu raises one without a name, too.
    name = (exc.name or "").partition(".")[0] or ("redis" if "redis" in str(exc).lower() else "")
    if name not in _OF_REDIS:
        return None
    return ConfigurationError(
        f"a Redis broker or result backend needs {name}, which is not installed. "
        'Install it: pip install "celery-mailproxy[redis]".'
    )


def check_client(app: Celery) -> None:
    """Import the client of the app's broker. Raises `ConfigurationError` where it is known what is missing."""
    try:
        app.connection_for_write().get_transport_cls()
    except ImportError as exc:
        if (error := missing_client(exc)) is not None:
            raise error from exc
