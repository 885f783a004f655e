"""Mails whose source lies in the file storage, as the proxy gets them: with references to their attachments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ...errors import MailProxyError
from ...mail.payload import check_expressible
from ...runtime import Runtime
from ...tasks.sending.arguments import one_outgoing
from ..log import content
from .references import separate

__all__ = ["with_references"]


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
        check_expressible(outgoing.message)
    except MailProxyError:
        # The whole mail was checked when it was sent.
        return None
    return referring
