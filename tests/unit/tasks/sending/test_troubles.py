"""What mails wait for is said once a minute, kept for all processes, and forgotten when it has passed."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from celery_mailproxy.deliveries.stores import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.errors import ProxyUnavailable, StoreError, UnforeseenError
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.tasks.sending.troubles import Trouble, Troubles


class Parts:
    """Two processes on one store, with a clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.store = MemoryStore(Retention())
        self.one, self.other = (Troubles(self.store, clock=lambda: self.now) for _ in range(2))

    @property
    def kept(self) -> Trouble | None:
        return Trouble.load(self.store.get_value("trouble/default"))


def waiting(*message_ids: str, remedy: str | None = "Set mail_proxy_token.") -> SubmitAnswer:
    error = ProxyUnavailable("the proxy answered 401", remedy=remedy)
    return SubmitAnswer(unsettled=dict.fromkeys(message_ids, error))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_a_line_a_minute_says_how_many_wait_and_why(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    for second in range(121):
        for troubles, name in ((parts.one, "m"), (parts.other, "n")):
            # Each process has thirty mails, which come again and again.
            troubles.note("default", waiting(f"{name}{second % 30}"))
        parts.now += 1
    why = "for the proxy 'default': the proxy answered 401. Set mail_proxy_token."
    first, *others = lines(caplog)
    assert first == f"1 email waits {why}"
    assert [line.split(" ", 1)[1] for line in others] == [f"emails wait {why}"] * 2
    # The window of a process may begin a few seconds late.
    assert all(55 <= int(line.split()[0]) <= 70 for line in others), others


def test_one_mail_is_one(caplog: pytest.LogCaptureFixture) -> None:
    Parts().one.note("default", waiting("m1", remedy=None))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        "1 email waits for the proxy 'default': the proxy answered 401. They are tried"
    )


def test_what_is_kept_says_since_when() -> None:
    parts = Parts()
    began = parts.now
    for _ in range(10):
        parts.now += 30
        parts.other.note("default", waiting("m1", "m2"))
    kept = parts.kept
    assert kept is not None
    assert (kept.since, kept.at) == (began + 30, parts.now)
    assert (kept.problem, kept.remedy) == ("the proxy answered 401", "Set mail_proxy_token.")
    assert kept.number >= 2


def test_it_is_forgotten_when_the_proxy_takes_mails_again(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    parts.one.note("default", waiting("m1"))
    parts.one.note("default", SubmitAnswer(accepted=("m1",)))
    assert parts.kept is None
    assert lines(caplog)[-1] == "the proxy 'default' takes emails again"
    # And is noted at once where it begins anew.
    parts.one.note("default", waiting("m2"))
    assert parts.kept is not None


def test_another_process_forgets_what_one_that_died_has_noted() -> None:
    parts = Parts()
    parts.other.note("default", SubmitAnswer(accepted=("m0",)))
    parts.one.note("default", waiting("m1"))
    parts.now += 61
    parts.other.note("default", SubmitAnswer(rejected={"m2": "no"}))
    assert parts.kept is None


def test_the_store_is_not_asked_for_every_mail() -> None:
    class Counting(MemoryStore):
        calls = 0

        def get_value(self, name: str) -> str | None:
            self.calls += 1
            return super().get_value(name)

        def set_value(self, name: str, value: str | None) -> None:
            self.calls += 1
            super().set_value(name, value)

    parts = Parts()
    store = Counting(Retention())
    troubles = Troubles(store, clock=lambda: parts.now)
    for _ in range(1000):
        troubles.note("default", SubmitAnswer(accepted=("m",)))
    assert store.calls == 1
    for _ in range(1000):
        troubles.note("default", waiting("m"))
    assert store.calls == 3


def test_each_proxy_has_its_own() -> None:
    parts = Parts()
    parts.one.note("default", waiting("m1"))
    parts.one.note("bulk", SubmitAnswer(accepted=("m2",)))
    assert parts.kept is not None


def test_what_has_to_be_fixed_is_said_first() -> None:
    parts = Parts()
    parts.one.note("default", waiting("m1", remedy=None) + waiting("m2") + waiting("m3", remedy=None))
    assert parts.kept is not None
    assert parts.kept.remedy == "Set mail_proxy_token."


def test_an_unforeseen_error_is_not_the_proxys() -> None:
    parts = Parts()
    parts.one.note("default", SubmitAnswer(unsettled={"m1": UnforeseenError("x")}))
    parts.one.note("default", SubmitAnswer())
    assert parts.kept is None


def test_no_address_is_kept() -> None:
    parts = Parts()
    parts.one.note("default", SubmitAnswer(unsettled={"m1": ProxyUnavailable("no answer: ann@example.com")}))
    assert parts.kept is not None
    assert parts.kept.problem == "no answer: <address>"


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("odd")])
def test_a_store_that_fails_holds_nothing_up(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    class Away(MemoryStore):
        def get_value(self, name: str) -> str | None:
            raise error

        def set_value(self, name: str, value: str | None) -> None:
            raise error

    troubles = Troubles(Away(Retention()))
    for _ in range(3):
        troubles.note("default", waiting("m1"))
    troubles.note("default", SubmitAnswer(accepted=("m1",)))
    assert "1 email waits for the proxy 'default'" in caplog.text
    assert "takes emails again" in caplog.text


@pytest.mark.parametrize("text", [None, "", "{", "[]", "5", '{"problem": "x"}', '{"another": 1}'])
def test_what_another_release_has_kept_is_no_trouble(text: str | None) -> None:
    assert Trouble.load(text) is None


def test_nobody_waits_for_another_that_notes() -> None:
    class Slow(MemoryStore):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.entered, self.go_on = threading.Event(), threading.Event()

        def set_value(self, name: str, value: str | None) -> None:
            self.entered.set()
            self.go_on.wait()

    store = Slow(Retention())
    troubles = Troubles(store)
    thread = threading.Thread(target=troubles.note, args=("default", waiting("m1")))
    thread.start()
    store.entered.wait()
    troubles.note("default", waiting("m2"))
    store.go_on.set()
    thread.join()
