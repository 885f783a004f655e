"""`QuietRequest`: what a worker knows of a queued task, with nothing of its mails to show."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

__all__ = ["HIDDEN", "QuietRequest"]

#: What Celery shows in place of the arguments: in its events, its logs and what they carry to Sentry and the like.
HIDDEN = {"argsrepr": "(…)", "kwargsrepr": "{…}"}


class QuietRequest(Request):  # type: ignore[misc]
    """Its publisher has put the arguments' repr into the headers, with addresses and perhaps a password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_dict.update(HIDDEN)
        self._argsrepr, self._kwargsrepr = HIDDEN["argsrepr"], HIDDEN["kwargsrepr"]
