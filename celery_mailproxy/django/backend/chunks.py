"""`in_chunks`: messages as the mails of one task each, checked chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...conf.settings import Settings
from ...errors import InvalidMessage
from .celery_email import CeleryEmailSettings
from .conversion import ConvertedMail, convert

__all__ = ["in_chunks"]

#: A chunk is cut where its mails grow larger than this: brokers do not like large messages.
_CHUNK_BYTES = 1024 * 1024


def in_chunks(
    messages: Iterable[Any], *, defaults: Mapping[str, Any], legacy: CeleryEmailSettings, settings: Settings
) -> Iterator[list[tuple[Any, ConvertedMail]]]:
    """The messages with what becomes of them; those without recipients are passed over.

    Raises `InvalidMessage` for what cannot be sent, before the chunk that it would be in.
    """
    most = min(legacy.chunk_size, settings.chunk_size)
    chunk: list[tuple[Any, ConvertedMail]] = []
    size = 0
    ids: set[str] = set()
    for index, message in enumerate(messages):
        mail = _convert(index, message, defaults, legacy, settings)
        if mail is None:
            continue
        if mail.message_id in ids:
            problem = f"must be unique among the messages, got {mail.message_id!r}"
            raise InvalidMessage(f"messages[{index}].mail_proxy['message_id']", problem)
        ids.add(mail.message_id)
        if chunk and (len(chunk) == most or size + mail.size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((message, mail))
        size += mail.size
    if chunk:
        yield chunk


def _convert(
    index: int, message: Any, defaults: Mapping[str, Any], legacy: CeleryEmailSettings, settings: Settings
) -> ConvertedMail | None:
    """What becomes of a message; None where it has no recipients."""
    try:
        if not message.recipients():
            return None
        return convert(message, defaults=defaults, legacy=legacy, settings=settings)
    except InvalidMessage as exc:
        raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc
    except (AttributeError, TypeError) as exc:
        # Among several messages the error has to name its own.
        problem = f"must be a message as Django's, got {type(message).__name__} ({exc})"
        raise InvalidMessage(f"messages[{index}]", problem) from exc
