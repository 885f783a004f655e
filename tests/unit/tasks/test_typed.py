"""The types of the tasks name what the tasks take, and so does what people see of them."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest

from celery_mailproxy import deliver_via_proxy, send_many_via_proxy, send_via_proxy
from celery_mailproxy.mail.arguments import ARGUMENTS
from celery_mailproxy.tasks.results.collect_task import CollectTask
from celery_mailproxy.tasks.sending.base_tasks import SendTask
from celery_mailproxy.tasks.sending.callbacks import CALLBACK_ARGUMENTS
from celery_mailproxy.tasks.typed import DeliverArguments, MailArguments, SendArguments

OF_A_MAIL = {*ARGUMENTS, *CALLBACK_ARGUMENTS}


@pytest.mark.parametrize(
    ("arguments", "own"),
    [(MailArguments, ()), (SendArguments, SendTask.own_arguments), (DeliverArguments, CollectTask.own_arguments)],
)
def test_the_types_name_each_argument(arguments: Any, own: tuple[str, ...]) -> None:
    assert set(arguments.__annotations__) == {*OF_A_MAIL, *own}


@pytest.mark.parametrize(
    ("task", "first", "own"),
    [
        (send_via_proxy, "content", SendTask.own_arguments),
        (deliver_via_proxy, "content", CollectTask.own_arguments),
        (send_many_via_proxy, "messages", ()),
    ],
)
def test_a_signature_shows_them(task: Any, first: str, own: tuple[str, ...]) -> None:
    shown = list(inspect.signature(task).parameters)
    assert (shown[0], set(shown[1:])) == (first, {*OF_A_MAIL, *own})


def test_help_shows_them() -> None:
    shown = pydoc.plain(pydoc.render_doc(send_via_proxy))
    assert [name for name in (*OF_A_MAIL, *SendTask.own_arguments) if name not in shown] == []
