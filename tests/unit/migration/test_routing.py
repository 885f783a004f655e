"""Which way a mail goes: shares that only ever move mails to the proxy, keys, routes, and what operators set."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.conf.settings import MigrationSettings, load_settings
from celery_mailproxy.deliveries.delivery import Delivery, HistoryEntry
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.errors import ConfigurationError, StoreError
from celery_mailproxy.migration.routing import Router, pinned_path, position


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LostStore(MemoryStore):
    def get_value(self, name: str) -> str | None:
        raise StoreError("the store is away")


def store() -> MemoryStore:
    return MemoryStore(Retention())


def router(**settings: Any) -> Router:
    return Router(MigrationSettings(**settings), store=store())


def path(router: Router, number: int) -> str:
    return router.path_for({"to": [f"to{number}@example.com"]}, message_id=str(number))


def test_a_raised_share_moves_mails_to_the_proxy_and_none_away() -> None:
    before = {number for number in range(2000) if path(router(share=0.25), number) == "proxy"}
    after = {number for number in range(2000) if path(router(share=0.5), number) == "proxy"}
    assert before < after
    assert 420 < len(before) < 580
    assert 900 < len(after) < 1100


def test_nothing_and_everything_are_shares() -> None:
    assert {path(router(), number) for number in range(50)} == {"legacy"}
    assert {path(router(share=1.0), number) for number in range(50)} == {"proxy"}


def test_the_key_lies_where_it_lies_on_every_machine() -> None:
    assert position("to@example.com") == pytest.approx(0.0075040629)


def test_a_recipient_keeps_its_way_however_it_is_written() -> None:
    one = router(share=0.5)
    for number in range(50):
        address = f"to{number}@example.com"
        ways = {
            one.path_for({"to": address}, message_id="1"),
            one.path_for({"to": [f"Ann <{address.upper()}>", "other@example.com"]}, message_id="2"),
            one.path_for({"bcc": (address,)}, message_id="3"),
        }
        assert len(ways) == 1


def test_by_message_the_mails_of_one_recipient_are_divided() -> None:
    one = router(share=0.5, sticky="message")
    assert {one.path_for({"to": ["to@example.com"]}, message_id=str(number)) for number in range(20)} == {
        "proxy",
        "legacy",
    }


def test_by_tenant_all_its_mails_go_one_way() -> None:
    one = router(share=0.5, sticky="tenant")
    for tenant in ("a", "b", "c"):
        mails = [{"tenant_id": tenant, "to": [f"to{number}@example.com"]} for number in range(20)]
        assert len({one.path_for(mail, message_id=str(number)) for number, mail in enumerate(mails)}) == 1


def test_a_route_of_ones_own_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    answers = {"a": "proxy", "b": "legacy", "c": None, "d": "smtp"}
    one = router(share=1.0, route=lambda message: answers[message["subject"]])
    ways = {subject: one.path_for({"subject": subject}) for subject in answers}
    assert ways == {"a": "proxy", "b": "legacy", "c": "proxy", "d": "proxy"}
    with caplog.at_level(logging.ERROR):
        assert one.path_for({"subject": "unheard@example.com"}) == "proxy"
    assert "['route'] raised" in caplog.text
    assert "@example.com" not in caplog.text


def test_a_route_may_answer_anything() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = None  # type: ignore[assignment]

    assert router(share=1.0, route=lambda message: Odd()).path_for({"subject": "a"}) == "proxy"


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -0.5, 1.5])
def test_operators_cannot_set_what_is_no_share(share: float) -> None:
    one = router(share=0.5)
    with pytest.raises(ConfigurationError, match="share must be"):
        one.set_share(share)
    assert one.operators_share() is None


def test_the_operators_share_holds_for_all_within_seconds() -> None:
    shared, seconds = store(), Seconds()
    one = Router(MigrationSettings(share=0.25), store=shared, clock=seconds)
    other = Router(MigrationSettings(share=0.25), store=shared, clock=seconds)
    assert (one.share(), one.share(0.75), other.share()) == (0.25, 0.75, 0.25)
    other.set_share(1.0)
    assert (one.share(), other.share(), other.share(0.75)) == (0.25, 1.0, 1.0)
    seconds.now += 6
    assert one.share() == 1.0
    one.set_share(None)
    assert (one.share(), one.operators_share()) == (0.25, None)


def test_without_the_store_the_last_share_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    one = Router(MigrationSettings(share=0.5), store=LostStore(Retention()))
    assert one.share() == 0.5
    assert "keeping the last known value" in caplog.text


def test_a_mail_that_has_begun_keeps_its_way() -> None:
    now = utcnow()
    assert pinned_path(None) is None
    begun = Delivery(message_id="1", created_at=now, updated_at=now)
    assert pinned_path(begun) == "proxy"
    assert pinned_path(Delivery(message_id="1", created_at=now, updated_at=now, server="legacy")) == "legacy"
    fallen_back = HistoryEntry(report=DeliveryReport(kind=Kind.QUEUED, message_id="1", at=now, via="legacy"))
    assert pinned_path(Delivery(message_id="1", created_at=now, updated_at=now, history=(fallen_back,))) == "legacy"
    assert pinned_path(Delivery(message_id="1", created_at=now, updated_at=now, is_known=False)) is None


def read(value: Any) -> Any:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_migration = value
    return load_settings(app, environ={}).migration


def test_the_setting_is_read_and_checked() -> None:
    settings = read({"share": "0.25", "sticky": "tenant", "route": "os.path.basename", "fallback": "unreachable"})
    assert (settings.share, settings.sticky, settings.fallback) == (0.25, "tenant", "unreachable")
    assert settings.route("a/b") == "b"
    assert settings.legacy == "django.core.mail.backends.smtp.EmailBackend"


def test_the_setting_can_come_from_the_environment() -> None:
    app = Celery("test", set_as_current=False)
    settings = load_settings(app, environ={"MAIL_PROXY_MIGRATION": '{"share": 1, "shadow": true}'}).migration
    assert settings == MigrationSettings(share=1.0, shadow=True)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"shares": 0.5}, r"unknown key 'shares' in mail_proxy_migration. Did you mean share\?"),
        ({"share": 25}, r"mail_proxy_migration\['share'\] must be from 0 to 1"),
        ({"share": -0.1}, r"mail_proxy_migration\['share'\] must be 0 or more"),
        ({"sticky": "subject"}, r"\['sticky'\] must be one of 'recipient', 'message', 'tenant', got 'subject'"),
        ({"fallback": True}, r"\['fallback'\] must be one of"),
        ({"route": "nowhere.to.go"}, r"\['route'\] must name a callable"),
        ({"shadow_tenant": "sandbox"}, "has no meaning without 'shadow'"),
        (0.5, "must be a dict such as"),
    ],
)
def test_a_wrong_setting_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read(value)


def test_no_proxy_is_called_as_the_way_round_it() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(mail_proxy_migration={}, mail_proxy_servers={"legacy": {"url": "http://proxy:8000"}})
    with pytest.raises(ConfigurationError, match="must not name a proxy 'legacy'"):
        load_settings(app, environ={})
