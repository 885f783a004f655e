"""The contract of `DeliveryStore.erase`, held by every store; `tests/django/log/test_store.py` holds Django's to it."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from functools import reduce
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.erasing import erase
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.sought_address import SoughtAddress
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import Erased, Recording
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.deliveries.suspension import Step, Suspension

from .store_values import START, Clock, MakeStore, delivery, report

ANN = "ann@example.com"
SOUGHT = SoughtAddress(address=ANN)
SETTLED = Recording(is_settled=True)


def erased_in(store: DeliveryStore, **options: Any) -> Erased:
    return reduce(Erased.joined, store.erase(SOUGHT, **options), Erased())


def kept_in(erased: Erased) -> set[tuple[str, str, str | None]]:
    return {(each.kind, each.id, each.status) for each in erased.kept}


def whole(store: DeliveryStore, message_id: str) -> Delivery:
    found = store.get(message_id)
    assert found is not None
    return found


def end(store: DeliveryStore, message_id: str, kind: Kind = Kind.SENT, **fields: Any) -> None:
    """Record an end of a message, and note that it has been dispatched."""
    ended = report(message_id, kind, **fields)
    store.record([ended], claim="task-1", how=Recording(adopt=True))
    store.mark_dispatched([Dispatched(message_id=message_id, key=ended.key)])


def test_an_address_is_erased_from_what_has_ended(store: DeliveryStore) -> None:
    summary = {"subject": "For Ann@Example.com, at once", "recipients": 2, "note": ["Ann <ann@example.com>"]}
    reason = "550 <ANN@example.com>: no such user; ask joann@example.com"
    store.register([delivery("m", summary=summary)])
    end(store, "m", Kind.ERROR, reason=reason, raw={"id": "m", "error": reason, "deep": [{ANN: "x"}]})
    before = whole(store, "m")
    erased = erased_in(store)
    assert (erased.looked_at, erased.changed, erased.deleted, erased.kept) == (1, ("m",), (), ())
    after = whole(store, "m")
    assert after == erase(before, SOUGHT)[1]
    assert after.reason == "550 <address>: no such user; ask joann@example.com"
    assert after.summary["subject"] == "For <address>, at once"
    assert after.history[0].report.raw["deep"] == [{"<address>": "x"}]
    assert (after.status, after.updated_at, after.outcome.key) == (Status.ERROR, before.updated_at, "error:1795348800")  # type: ignore[union-attr]
    assert "ann@example" not in repr(after.summary).lower() + repr(after.history).lower().replace("joann", "")
    # What has been erased once is not found again, and what comes again is still known.
    assert erased_in(store).changed == ()
    assert store.record([before.history[0].report], claim="task-2")[0].verdict.value == "duplicate"


def test_other_records_stay_as_they_are(store: DeliveryStore) -> None:
    ids = [f"m{number}" for number in range(450)]
    store.register([delivery(each, summary={"subject": f"to {each}-ann@example.com"}) for each in ids])
    store.register([delivery("mine", status=Status.SENT, summary={"subject": ANN})])
    before = store.get_many(ids)
    pages = list(store.erase(SOUGHT))
    assert len(pages) > 2
    erased = reduce(Erased.joined, pages)
    assert (erased.looked_at, erased.changed) == (451, ("mine",))
    assert store.get_many(ids) == before


def test_what_has_not_ended_is_named_and_left(store: DeliveryStore) -> None:
    callbacks = {"sent": [{"task": "paid", "args": [ANN]}]}
    store.register([delivery("open", callbacks=callbacks), delivery("other", summary={"subject": "for all"})])
    store.record([report("open", Kind.QUEUED)], claim="task-1", how=SETTLED)
    end(store, "open", Kind.DEFERRED, reason=ANN)
    before = whole(store, "open")
    erased = erased_in(store)
    assert kept_in(erased) == {("delivery", "open", "deferred")}
    assert erased.changed == ()
    assert whole(store, "open") == before
    # It is sent and reported, with all that it was to be reported with; and can be erased then.
    (recorded,) = store.record([report("open", second=9)], claim="task-1")
    assert recorded.delivery is not None
    assert recorded.delivery.callbacks == callbacks
    assert kept_in(erased_in(store)) == {("delivery", "open", "sent")}
    store.mark_dispatched([Dispatched(message_id="open", key=recorded.report.key)])
    assert erased_in(store).changed == ("open",)
    assert whole(store, "open").callbacks == {"sent": [{}]}


def test_a_result_that_waits_keeps_its_message_until_it_is_stored(store: DeliveryStore) -> None:
    message = json.dumps({"n": "deliver", "s": "json", "j": [[], {"to": [ANN]}, {}]})
    pickled = json.dumps({"n": "deliver", "s": "pickle", "b": b64encode(b"\x8c\x0fann@example.com").decode()})
    for message_id, text in (("plain", message), ("pickled", pickled)):
        store.register([delivery(message_id, suspension=Suspension(owner=message_id, since=START, message=text))])
        store.record_submitted(report(message_id, Kind.QUEUED), claim=message_id)
        end(store, message_id)
    assert kept_in(erased_in(store)) == {("delivery", "plain", "sent"), ("delivery", "pickled", "sent")}
    assert whole(store, "plain").suspension.message == message  # type: ignore[union-attr]
    for message_id in ("plain", "pickled"):
        store.advance(message_id, Step.CLAIM, token="run")
        store.advance(message_id, Step.FINISH, token="run")
    assert erased_in(store) == Erased(looked_at=2)


def test_recipients_of_an_ended_mail_are_erased_one_by_one(store: DeliveryStore) -> None:
    members = ("bob@example.com", ANN, "ann@example.com.au")
    parent = delivery("m", members=members)
    store.register([parent, *[delivery(each, parent_id="m", summary={}) for each in parent.member_ids]])
    end(store, "m-1", Kind.ERROR, reason=f"550 {ANN}")
    erased = erased_in(store)
    # The mail as a whole has not ended: its result names everyone.
    assert (erased.changed, kept_in(erased)) == (("m-1",), {("delivery", "m", "new")})
    assert whole(store, "m").members == members
    end(store, "m")
    assert erased_in(store).changed == ("m",)
    assert whole(store, "m").members == ("bob@example.com", "<address 1>", "ann@example.com.au")
    assert whole(store, "m").ids_by_member["<address 1>"] == "m-1"


def test_a_callback_that_holds_it_cannot_be_replayed_and_the_others_can(store: DeliveryStore) -> None:
    callbacks = {"sent": [{"task": "a", "kwargs": {"who": f"Ann <{ANN}>"}}, {"task": "b"}], "error": [{"task": "c"}]}
    store.register([delivery("m", callbacks=callbacks)])
    sent = report("m")
    store.record([sent], claim="task-1")
    failed = ("on_sent[0]:a", "on_sent[1]:b", "shop.handlers.noted")
    store.mark_dispatched([Dispatched(message_id="m", key=sent.key, failed=failed)])
    assert store.failed() == ["m"]
    assert erased_in(store).changed == ("m",)
    after = whole(store, "m")
    assert after.callbacks == {"sent": [{}, {"task": "b"}], "error": [{"task": "c"}]}
    assert after.history[0].failed == failed[1:]
    assert store.failed() == ["m"]


def test_without_its_only_failed_callback_a_mail_has_none(store: DeliveryStore) -> None:
    store.register([delivery("m", callbacks={"sent": [{"task": "a", "args": [ANN]}]})])
    store.record([report("m")], claim="task-1")
    store.mark_dispatched([Dispatched(message_id="m", key=report("m").key, failed=("on_sent[0]:a",))])
    assert erased_in(store).changed == ("m",)
    assert store.failed() == []


def test_reports_of_messages_that_nobody_has_registered_are_erased(store: DeliveryStore) -> None:
    end(store, "elsewhere", Kind.DEFERRED, reason=f"451 {ANN}")
    assert erased_in(store).changed == ("elsewhere",)
    assert whole(store, "elsewhere").reason == "451 <address>"


def test_an_ended_mail_with_the_address_in_its_id_is_deleted(store: DeliveryStore) -> None:
    ids = [f"welcome-{ANN}", f"welcome:{ANN}", f"open:{ANN}"]
    store.register([delivery(each) for each in ids])
    for message_id in ids[:2]:
        end(store, message_id)
    erased = erased_in(store)
    # `welcome-ann@example.com` is an address of its own.
    assert (erased.deleted, kept_in(erased)) == ((ids[1],), {("delivery", ids[2], "new")})
    assert [each is None for each in store.get_many(ids)] == [False, True, False]


def test_a_dry_run_says_the_same_and_changes_nothing(store: DeliveryStore) -> None:
    store.register([delivery("m", summary={"subject": ANN}), delivery("open", summary={"subject": ANN})])
    store.register([delivery(f"x:{ANN}", status=Status.SENT)])
    end(store, "m")
    before = store.get_many(["m", "open", f"x:{ANN}"])
    tried = erased_in(store, is_dry_run=True)
    assert store.get_many(["m", "open", f"x:{ANN}"]) == before
    assert erased_in(store) == tried
    assert (tried.changed, tried.deleted, len(tried.kept)) == (("m",), (f"x:{ANN}",), 1)


def test_tasks_in_the_outbox_are_named_and_left(store: DeliveryStore) -> None:
    head = json.dumps({"n": "send", "i": "t", "s": "json"})
    plain = f"{head}\n{json.dumps([[], {'to': [f'Ann <{ANN}>']}, {}])}"
    other = f"{head}\n{json.dumps([[], {'to': [f'jo-{ANN}']}, {}])}"
    pickled = f"{head}\n{b64encode(b'x8c ann@example.com').decode()}"
    entries = {"plain": plain, "other": other, "pickled": pickled}
    store.outbox.put([OutboxEntry(task_id=each, content=text, due_at=START) for each, text in entries.items()])
    store.outbox.put([OutboxEntry(task_id=f"t{n}", content=other, due_at=START) for n in range(450)])
    erased = erased_in(store)
    assert kept_in(erased) == {("task", "plain", None), ("task", "pickled", None)}
    assert erased.looked_at == 453
    assert len(store.outbox.due(now=START + timedelta(seconds=1), limit=1000)) == 453
    assert sorted(each.task_id for page in store.outbox.pages() for each in page)[:2] == ["other", "pickled"]


def test_how_long_a_record_is_kept_does_not_change(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    store.register([delivery("m", summary={"subject": ANN})])
    end(store, "m")
    clock.advance(500)
    assert erased_in(store).changed == ("m",)
    clock.advance(501)
    if store.prune() == 0:
        # Redis forgets by itself, by its own clock.
        left = store._trips.run([("PTTL", store._key("m"))])[0]  # type: ignore[attr-defined]
        assert 0 < left <= 1_000_000
    else:
        assert store.get("m") is None


@pytest.mark.parametrize("message_id", ["a\nb", "ü" * 100, "}x{*?[", "\\u0041", "a b\0"])
def test_odd_ids_are_no_hindrance(store: DeliveryStore, message_id: str) -> None:
    store.register([delivery(message_id, summary={"subject": ANN})])
    end(store, message_id)
    assert erased_in(store).changed == (message_id,)
    assert whole(store, message_id).summary == {"subject": "<address>"}


def test_what_changes_meanwhile_is_not_lost(store: DeliveryStore) -> None:
    ids = [f"m{number:03}" for number in range(450)]
    store.register([delivery(each, summary={"subject": ANN}) for each in ids])
    for message_id in ids:
        end(store, message_id)
    pages = store.erase(SOUGHT)
    next(pages)
    store.record([report(each, Kind.BOUNCED, second=5, reason=ANN) for each in ids], claim="task-2")
    kept = {each.id for page in pages for each in page.kept}
    # Those of the first page have been erased, and their bounce came afterwards; the others are open by now.
    assert len(kept) == 250
    assert all(each is not None and each.status is Status.BOUNCED for each in store.get_many(ids))
    subjects = {each.message_id for each in store.get_many(ids) if each and each.summary["subject"] == ANN}
    assert subjects == kept
