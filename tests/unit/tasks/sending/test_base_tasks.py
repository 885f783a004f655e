"""What the sending tasks' base classes do in the caller."""

from __future__ import annotations

import pytest
from celery import group

from celery_mailproxy import InvalidMessage
from celery_mailproxy.conf import task_names

from ....harness.memory_worker import memory_worker


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_a_group_publishes_what_stands_before_a_mail_that_cannot_be_sent(name: str) -> None:
    """As `docs/how-to/results.md` says."""
    with memory_worker() as worker:
        task = worker.task(name)
        recipients = ("ann@example.com", "no address", "bob@example.com")
        mails = group([task.s(to=[each], subject="S") for each in recipients], app=worker.app)
        with pytest.raises(InvalidMessage, match="no address"):
            mails.apply_async()
        assert [message.kwargs["to"] for message in worker.take()] == [["ann@example.com"]]
