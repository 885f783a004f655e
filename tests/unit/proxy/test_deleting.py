"""What is proven of messages that are deleted at the proxy: by its clock, and by its answers."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.deleting import Deletion, delete_waiting

WAITING = {"id": "m", "deferred_ts": int(time.time()) + 600}


class Proxy:
    """Speaks as 0.6.10 does; `rows` are its messages, `ahead` how far its clock is."""

    def __init__(self, *rows: dict[str, Any], ahead: float = 0.0, **deletion: Any) -> None:
        self.rows = list(rows)
        self.deletion = deletion
        self.ahead = ahead
        self.deleted: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        headers = {"Date": formatdate(time.time() + self.ahead, usegmt=True)}
        if request.method == "GET":
            return httpx.Response(200, json={"ok": True, "messages": self.rows}, headers=headers)
        ids = json.loads(request.content)["ids"]
        self.deleted.append(ids)
        if "status" in self.deletion:
            return httpx.Response(self.deletion["status"], headers=headers)
        kept = self.deletion.get("kept", ())
        before = len(self.rows)
        self.rows = [row for row in self.rows if row["id"] not in ids or row["id"] in kept]
        return httpx.Response(200, json={"ok": True, "removed": before - len(self.rows)}, headers=headers)


def fates(proxy: Proxy, *ids: str, patience_seconds: float = 0.0) -> dict[str, Deletion]:
    server = ServerSettings(name="default", url="http://proxy", api="commands-0.6", token="t")
    client = ProxyClient(server, transport=httpx.MockTransport(proxy))
    found = delete_waiting(
        client, "acme", ids or ("m",), patience_seconds=patience_seconds, sleep=lambda seconds: proxy.rows.clear()
    )
    client.close()
    return found


def test_message_whose_time_has_not_come_is_deleted() -> None:
    assert fates(Proxy(WAITING)) == {"m": Deletion.DELETED}


@pytest.mark.parametrize("row", [{"id": "m"}, {"id": "m", "deferred_ts": int(time.time()) - 1}])
def test_message_that_is_due_may_have_been_sent(row: dict[str, Any]) -> None:
    assert fates(Proxy(row)) == {"m": Deletion.MAYBE_SENT}


def test_time_is_that_of_the_proxys_clock() -> None:
    assert fates(Proxy(WAITING, ahead=700)) == {"m": Deletion.MAYBE_SENT}
    later = {"id": "m", "deferred_ts": int(time.time()) - 100}
    assert fates(Proxy(later, ahead=-700)) == {"m": Deletion.DELETED}


def test_message_that_is_due_is_waited_for() -> None:
    proxy = Proxy({"id": "m"})
    # `sleep` lets it go its way.
    assert fates(proxy, patience_seconds=60.0) == {"m": Deletion.ABSENT}
    assert proxy.deleted == []


def test_those_that_wait_and_those_that_are_due_are_deleted_apart() -> None:
    proxy = Proxy(WAITING, {"id": "n"}, {"id": "s", "sent_ts": 5}, {"id": "e", "error_ts": 5, "error": "x"})
    assert fates(proxy, "m", "n", "s", "e", "nobody") == {
        "m": Deletion.DELETED,
        "n": Deletion.MAYBE_SENT,
        "s": Deletion.SENT,
        "e": Deletion.ENDED,
        "nobody": Deletion.ABSENT,
    }
    assert proxy.deleted == [["m"], ["n"]]


def test_what_the_proxy_does_not_delete_is_kept() -> None:
    other = {**WAITING, "id": "n"}
    # Nobody knows when the other one went.
    assert fates(Proxy(WAITING, other, kept=("n",)), "m", "n") == {"m": Deletion.MAYBE_SENT, "n": Deletion.KEPT}


def test_what_the_proxy_does_not_say_is_unsaid() -> None:
    assert fates(Proxy(WAITING, status=502)) == {"m": Deletion.UNSAID}
