"""An address in what the log keeps beside deliveries: the sources of mails, envelopes' senders, and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes, policy
from functools import partial
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import Q

from ...deliveries.erasing import is_open, may_be_in_message
from ...deliveries.sought_address import ERASED, SoughtAddress
from ...deliveries.stores.base import Erased, Kept
from ...deliveries.stores.erased_pages import PAGE
from . import content
from .models import EmailLog
from .row_codec import message_id_of
from .row_texts import exact
from .rows import read_keys

__all__ = ["erase_sources", "in_dead_letters"]

#: A source may be as large as a mail: so many are in memory at once.
_SOURCES_AT_ONCE = 10

#: Another application of ours, if it is installed: the log does not know what is built on it.
_DRAIN, _LETTER = "celery_mailproxy.django.drain", ("celery_mailproxy_drain", "DeadLetter")


def erase_sources(message_ids: Sequence[str], sought: SoughtAddress, alias: str, *, is_dry_run: bool) -> Erased:
    """Delete the sources and envelopes' senders of these mails that hold the address, or were sent to it, unless open.

    Raises Django's database errors, and what the file storage raises.
    """
    logs = EmailLog.objects.using(alias).filter(message_id__in=[exact(each) for each in message_ids])
    keys = logs.filter(Q(content__isnull=False) | Q(return_path__isnull=False) | ~Q(content_name=""))
    batches = _batches(list(keys.values_list("pk", flat=True)))
    holding = [row for batch in batches for row in _holding(batch, sought, alias)]
    open_ids = _open_ids([pk for pk, *_ in holding], alias)
    ended = [(pk, message_id, name) for pk, message_id, name in holding if message_id not in open_ids]
    if not is_dry_run:
        erased = EmailLog.objects.using(alias).filter(pk__in=[pk for pk, _, _ in ended])
        erased.update(content=None, return_path=None, content_name="")
        if names := [name for _, _, name in ended if name]:
            transaction.on_commit(partial(content.discard, names), using=alias)
    return Erased(
        changed=tuple(message_id for _, message_id, _ in ended),
        kept=tuple(Kept(kind="delivery", id=message_id, status=status) for message_id, status in open_ids.items()),
    )


def in_dead_letters(sought: SoughtAddress, run: Callable[[Callable[[], Any]], Any]) -> Iterator[Erased]:
    """The dead letters that hold the address, or may: nobody else has their mails. `run` runs a query."""
    if not apps.is_installed(_DRAIN):
        return
    letters = apps.get_model(*_LETTER)._default_manager.order_by("pk").values_list("pk", "message_id", "content")
    last = 0
    while rows := run(partial(list, letters.filter(pk__gt=last)[:PAGE])):
        holding = [message_id for _, message_id, text in rows if may_be_in_message(sought, text)]
        yield Erased(looked_at=len(rows), kept=tuple(Kept(kind="dead letter", id=each) for each in holding))
        last = rows[-1][0]


def _holding(keys: Sequence[int], sought: SoughtAddress, alias: str) -> Iterator[tuple[int, str, str]]:
    """Key, message id and file of those rows that hold the address."""
    columns = ("pk", "message_id", "details", "recipients", "return_path", "content", "content_name")
    rows = EmailLog.objects.using(alias).filter(pk__in=keys).values_list(*columns)
    for pk, message_id, details, recipients, return_path, source, name in rows:
        sources = [bytes(source) if source is not None else None, content.load(name) if name else None]
        # Without one of its recipients it is no mail that can be sent again, though blind copies are not in its source.
        is_short = source is not None and (ERASED in recipients.split("\n") or sought.is_in(recipients))
        if (
            is_short
            or sought.is_in(return_path)
            or any(each is not None and _is_in_source(sought, each) for each in sources)
        ):
            yield pk, message_id_of(message_id, details), name


def _is_in_source(sought: SoughtAddress, source: bytes) -> bool:
    """Whether the address is in a mail: in its headers, where nobody may encode it, or in one of its parts."""
    if sought.is_in(source.decode("utf-8", "replace")):
        return True
    parts = message_from_bytes(source, policy=policy.compat32).walk()
    decoded = (part.get_payload(decode=True) for part in parts if not part.is_multipart())
    return any(isinstance(each, bytes) and sought.is_in(each.decode("utf-8", "replace")) for each in decoded)


def _open_ids(keys: Sequence[int], alias: str) -> dict[str, str]:
    """Message id → status of those that are open, or cannot be read."""
    loaded = read_keys(keys, alias)
    found = {each.message_id: each.status.value for each in loaded.deliveries.values() if is_open(each)}
    return {**found, **dict.fromkeys(loaded.damaged, "damaged")}


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), _SOURCES_AT_ONCE):
        yield keys[start : start + _SOURCES_AT_ONCE]
