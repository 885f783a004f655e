"""A log's row that cannot be read costs its own mail; `other_database` runs this elsewhere, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.django.log.store import DjangoStore
from celery_mailproxy.django.models import EmailLog, EmailLogEvent
from tests.contract import test_damage_contract
from tests.contract.store_values import RETENTION, Clock, DamageStore

pytestmark = pytest.mark.django_db(transaction=True)

# The contract: its tests and their fixture run here with the fixtures below.
globals().update({n: v for n, v in vars(test_damage_contract).items() if n.startswith("test_") or n == "store"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["callbacks", "suspension", "raw"])
def damage_store(request: pytest.FixtureRequest, clock: Clock) -> DamageStore:
    store = DjangoStore(RETENTION, clock=clock, settings=Settings)
    damage = _damage_events if request.param == "raw" else partial(_damage, request.param)
    return DamageStore(store, damage)


def _damage(column: str, message_id: str) -> Callable[[], None]:
    rows: Any = EmailLog.objects.filter(message_id=message_id)
    value = rows.values_list(column, flat=True).get()
    rows.update(**{column: "{"})
    return lambda: rows.update(**{column: value})


def _damage_events(message_id: str) -> Callable[[], None]:
    log = EmailLog.objects.get(message_id=message_id)
    # A mail may have none yet.
    extra = EmailLogEvent.objects.create(log=log, position=99, key="odd", kind="odd", at=log.created_at)
    return lambda: extra.delete()
