"""A caller: a process of the application that sends the mails of one side, each at its time.

    python -m tests.chaos.caller '{"seed": 7, "mails": 200, "seconds": 60, "side": "plain", "began_at": 1764312000.0}'

Killed and started again, it goes on with the items that it had not begun. It notes `calling` before, and `accepted` or
`refused` after each call: a call that has `accepted` is a promise, any other may or may not have been made. Django's
promise is made by the commit of the transaction in which the mail is sent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from celery import chain, chord
from celery.signals import before_task_publish

from celery_mailproxy import deliver_many_via_proxy, deliver_via_proxy, send_many_via_proxy, send_via_proxy
from tests.harness.json_lines import JsonLines

from .app import app, followed, ledger, noted, render, summarised
from .load import Item, Mail, Shape, Side, make_load

__all__ = ["main"]

#: No outage takes longer, on a slow machine either.
_OUTAGE_SECONDS = 90.0


def _arguments(item: Item, mail: Mail) -> dict[str, Any]:
    callbacks = {}
    if item.shape.has_callbacks:
        callbacks = {f"on_{tag}": noted.s(tag=tag, number=mail.number) for tag in ("sent", "error")}
    return {"to": [mail.address], "subject": f"Mail {mail.number}", "body": "Body", **callbacks}


def _send_single(item: Item) -> list[str]:
    (mail,) = item.mails
    return [send_via_proxy.apply_async(kwargs=_arguments(item, mail), task_id=item.task_id).id]


def _send_many(item: Item) -> list[str]:
    messages = [_arguments(item, mail) for mail in item.mails]
    send_many_via_proxy.apply_async((messages,), task_id=item.task_id)
    # One chunk: see `SendManyTask.message_ids`.
    return [f"{item.task_id}-0-{index}" for index in range(len(messages))]


def _send_chain(item: Item) -> list[str]:
    (mail,) = item.mails
    deliver = deliver_via_proxy.s(to=[mail.address]).set(task_id=item.task_id)
    chain(render.si(mail.number), deliver, followed.s(mail.number)).apply_async()
    return [item.task_id]


def _send_chord(item: Item) -> list[str]:
    ids = [f"{item.task_id}-{mail.number}" for mail in item.mails]
    header = [
        deliver_via_proxy.s(**_arguments(item, mail), collect=True).set(task_id=each)
        for each, mail in zip(ids, item.mails, strict=True)
    ]
    chord(header, summarised.s(item.number)).apply_async()
    return ids


def _send_campaign(item: Item) -> list[str]:
    messages = [_arguments(item, mail) for mail in item.mails]
    chord(deliver_many_via_proxy(messages, collect=True, app=app), summarised.s(item.number)).apply_async()
    # Their ids are made from the group's.
    return []


def _send_django(item: Item) -> list[str]:
    # Not at the top: only one of the two applications has Django.
    from django.core.mail import EmailMessage
    from django.db import transaction

    from celery_mailproxy.django.backends import EmailBackend

    messages = []
    for mail in item.mails:
        message: Any = EmailMessage(f"Mail {mail.number}", "Body", None, [mail.address])
        message.mail_proxy = {f"on_{tag}": noted.s(tag=tag, number=mail.number) for tag in ("sent", "error")}
        messages.append(message)
    with transaction.atomic():
        # Before the backend's own function: whatever happens from here on, the mail has been sent for the caller.
        transaction.on_commit(partial(_committed, item))
        EmailBackend().send_messages(messages)
    return [message.mail_proxy_id for message in messages]


def _committed(item: Item) -> None:
    ledger.note("accepted", item=item.number, ids=[])
    if item.kills_caller:
        before_task_publish.connect(partial(_die, item), weak=False)


def _die(item: Item, **kwargs: Any) -> None:
    number, kind = f"item {item.number}", "caller killed between commit and publication"
    ledger.note("fault begun", number=number, kind=kind)
    ledger.note("killed", number=number, pids=[os.getpid()])
    ledger.note("fault ended", number=number, kind=kind, problem=None)
    os.kill(os.getpid(), signal.SIGKILL)


_SENDERS = {
    Shape.SINGLE: _send_single,
    Shape.MANY: _send_many,
    Shape.CHAIN: _send_chain,
    Shape.CHORD: _send_chord,
    Shape.CAMPAIGN: _send_campaign,
    Shape.DJANGO: _send_django,
    Shape.DJANGO_MANY: _send_django,
}


def main(argument: str) -> None:
    given = json.loads(argument)
    side = Side(given["side"])
    begun = {event["item"] for event in JsonLines(ledger.path).events if event["what"] == "calling"}
    items = make_load(given["seed"], mails=given["mails"], seconds=given["seconds"])
    mine = [item for item in items if item.shape.side is side and item.number not in begun]
    if side is Side.DJANGO:
        import django

        django.setup()
    _send_all(mine, began_at=given["began_at"])
    ledger.note("all called", side=side.value)


def _send_all(items: Sequence[Item], *, began_at: float) -> None:
    for item in items:
        time.sleep(max(0.0, began_at + item.at - time.time()))
        ledger.note("calling", item=item.number)
        try:
            ids = _SENDERS[item.shape](item)
        except Exception as exc:
            ledger.note("refused", item=item.number, problem=repr(exc))
            _wait_until_it_works(item.shape.side)
        else:
            ledger.note("accepted", item=item.number, ids=ids)


def _wait_until_it_works(side: Side) -> None:
    """A call that raises promises nothing, and would say nothing: none is made while all of them would raise."""
    deadline = time.monotonic() + _OUTAGE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            with app.connection_for_write() as broker:
                broker.ensure_connection(max_retries=1, timeout=5)
            if side is Side.DJANGO:
                from django.db import connection

                connection.close()
                connection.ensure_connection()
        except Exception as exc:
            ledger.note("still down", problem=repr(exc))
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1])
