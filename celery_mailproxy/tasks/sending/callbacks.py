"""`on_sent`, `on_error`, `on_deferred`, `on_bounced`: Celery signatures that a report publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import InvalidMessage, shown

__all__ = ["CALLBACK_ARGUMENTS", "dump_callbacks", "split_callbacks"]

#: The argument of `send_via_proxy` → the outcome under which a `Delivery` keeps it.
CALLBACK_ARGUMENTS: Mapping[str, str] = {
    "on_sent": "sent",
    "on_error": "error",
    "on_deferred": "deferred",
    "on_bounced": "bounced",
}

Callbacks = dict[str, list[dict[str, Any]]]


def split_callbacks(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Callbacks]:
    """The other arguments, and the callbacks by outcome. Raises `InvalidMessage` for what is no signature."""
    rest = {name: value for name, value in arguments.items() if name not in CALLBACK_ARGUMENTS}
    callbacks = {
        outcome: dump_callbacks(argument, arguments[argument])
        for argument, outcome in CALLBACK_ARGUMENTS.items()
        if arguments.get(argument)
    }
    return rest, callbacks


def dump_callbacks(argument: str, value: Any) -> list[dict[str, Any]]:
    """A signature or several, each as the plain dict that Celery rebuilds it from (a `Signature` is such a dict)."""
    several = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    for signature in several:
        if not isinstance(signature, Mapping) or "task" not in signature:
            raise InvalidMessage(
                argument, f"must be a Celery signature such as paid.s(7), or a list of them, got {shown(signature)}"
            )
    return [_plain(signature) for signature in several]


def _plain(value: Any) -> Any:
    """The value with every `Signature` in it turned into a plain dict, so that any serializer takes it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
