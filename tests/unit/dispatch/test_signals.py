from __future__ import annotations

import gc
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.dispatch import signals
from celery_mailproxy.dispatch.signals import MailSignal, signals_of


@pytest.fixture
def signal() -> MailSignal:
    return MailSignal(name="mail_test")


@pytest.fixture
def app() -> Celery:
    return Celery("signals", set_as_current=False)


def test_handlers_of_any_sender_and_of_this_one_are_called(signal: MailSignal, app: Celery) -> None:
    seen = []

    @signal.connect
    def for_any(sender: Any, report: Any, **kwargs: Any) -> None:
        seen.append(("any", sender, report))

    @signal.connect(sender=app)
    def for_this(sender: Any, report: Any, **kwargs: Any) -> None:
        seen.append(("this", sender, report))

    @signal.connect(sender=Celery("other", set_as_current=False))
    def for_another(**kwargs: Any) -> None:
        seen.append(("other", None, None))

    assert signal.notify(app, report="r") == []
    assert seen == [("any", app, "r"), ("this", app, "r")]


def test_a_handler_that_raises_is_named_and_the_others_run(
    signal: MailSignal, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    @signal.connect
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("out of order")

    @signal.connect
    def sound(**kwargs: Any) -> None:
        seen.append("sound")

    failed = signal.notify(app, report=None)
    assert seen == ["sound"]
    assert len(failed) == 1
    assert failed[0].startswith("mail_test:")
    assert failed[0].endswith("broken")
    assert "broken raised" in caplog.text


def test_only_the_named_handlers_are_called_again(signal: MailSignal, app: Celery) -> None:
    seen = []

    @signal.connect
    def first(**kwargs: Any) -> None:
        seen.append("first")

    @signal.connect
    def second(**kwargs: Any) -> None:
        seen.append("second")
        raise RuntimeError("again")

    failed = signal.notify(app)
    seen.clear()
    assert signal.notify(app, only=failed) == failed
    assert seen == ["second"]


def test_a_handler_that_is_gone_is_passed_over(signal: MailSignal, app: Celery) -> None:
    def connect_and_forget() -> None:
        @signal.connect
        def gone(**kwargs: Any) -> None:
            raise AssertionError("must not be called")

    connect_and_forget()
    gc.collect()
    assert signal.notify(app) == []


def test_bound_methods_are_handlers(signal: MailSignal, app: Celery) -> None:
    class Shop:
        told = 0

        def on_mail(self, **kwargs: Any) -> None:
            self.told += 1

    shop = Shop()
    signal.connect(shop.on_mail)
    signal.notify(app)
    assert shop.told == 1


def test_every_kind_has_its_signals() -> None:
    assert {kind: [s.name for s in signals_of(kind)] for kind in Kind} == {
        Kind.QUEUED: ["mail_queued"],
        Kind.REJECTED: ["mail_rejected", "delivery_reported"],
        Kind.SENT: ["mail_sent", "delivery_reported"],
        Kind.ERROR: ["mail_error", "delivery_reported"],
        Kind.DEFERRED: ["mail_deferred", "delivery_reported"],
        Kind.BOUNCED: ["mail_bounced", "delivery_reported"],
        Kind.COMPLAINED: ["mail_complained", "delivery_reported"],
        Kind.CANCELLED: ["mail_cancelled", "delivery_reported"],
        Kind.EXPIRED: ["mail_expired", "delivery_reported"],
        Kind.SUPPRESSED: ["mail_suppressed", "delivery_reported"],
        Kind.OVERDUE: ["mail_overdue"],
        Kind.PEC: ["mail_pec", "delivery_reported"],
    }


def test_the_public_names_are_sorted() -> None:
    assert signals.__all__ == sorted(signals.__all__)
