"""Mails whose source lies in the file storage, as the proxy gets them: with references to their attachments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..errors import MailProxyError
from ..mime import encode
from ..outgoing import one_outgoing
from ..runtime import Runtime
from . import content
from .references import separate

__all__ = ["with_references"]

#: The entities API (0.7.0) forgets whose mail it is, and with it the tenant's attachment URL: such a mail
#: would end as an error.
_FETCHING_APIS = frozenset({"commands"})


def with_references(runtime: Runtime, mail: Mapping[str, Any], name: str, *, message_id: str) -> dict[str, Any] | None:
    """The mail's arguments with its attachments as references; None where it has to be submitted as a whole."""
    separated = separate(mail["raw"])
    if separated is None:
        return None
    rest, files = separated
    attachments = [file.attachment(partial(content.reference, name)) for file in files]
    referring = {**mail, "raw": rest, "attachments": attachments}
    try:
        outgoing = one_outgoing((), referring, settings=runtime.settings, message_id=message_id)
        encode(outgoing.message)
        fetches = runtime.client(outgoing.message.server).api.name in _FETCHING_APIS
    except MailProxyError:
        # The whole mail was checked when it was sent. A proxy that cannot be asked cannot be submitted to, either.
        return None
    return referring if fetches else None
