"""The suppression list in the admin: searched, added to, and removed from."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress
from celery_mailproxy.django.log.store import DjangoStore
from celery_mailproxy.django.models import SuppressedEmail
from tests.contract.store_values import RETENTION
from tests.django.harness.admin_pages import client_of, page, posted

pytestmark = pytest.mark.django_db

LIST = "admin:celery_mailproxy_suppressedemail_changelist"
ADD = "admin:celery_mailproxy_suppressedemail_add"
MAY = ("view_suppressedemail", "add_suppressedemail", "delete_suppressedemail")
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)


def suppress(address: str, cause: Cause = Cause.BOUNCED, message_id: str | None = "m1") -> None:
    entry = SuppressedAddress(address=address, cause=cause, at=NOW, message_id=message_id)
    DjangoStore(RETENTION).suppression.add([entry])


def shown(text: str) -> list[str]:
    """The addresses of the list, in order."""
    return re.findall(r'class="field-address"><a[^>]*>([^<]+)</a>', text)


def listed() -> list[tuple[str, str]]:
    return list(SuppressedEmail.objects.order_by("address", "cause").values_list("address", "cause"))


def test_the_list_shows_addresses_with_their_cause_and_can_be_searched() -> None:
    for address in ("ann@example.com", "bob@xn--bcher-kva.example"):
        suppress(address)
    suppress("ann@example.com", Cause.COMPLAINED, "m2")
    client = client_of(*MAY)
    text = page(client, reverse(LIST))
    assert shown(text) == ["ann@example.com", "ann@example.com", "bob@xn--bcher-kva.example"]
    assert [word in text for word in ("bounced", "complained", "m2")] == [True] * 3
    assert shown(page(client, reverse(LIST), q="ANN@")) == ["ann@example.com"] * 2
    assert shown(page(client, reverse(LIST), q="Bob@Bücher.example")) == ["bob@xn--bcher-kva.example"]
    assert shown(page(client, reverse(LIST), q="nobody")) == []
    assert shown(page(client, reverse(LIST), cause__exact="complained")) == ["ann@example.com"]


def test_an_address_is_added_as_it_is_compared() -> None:
    client = client_of(*MAY)
    for _ in range(2):
        posted(client, reverse(ADD), address="Ann <ANN@bücher.example>")
    assert listed() == [("ann@xn--bcher-kva.example", "added")]
    assert [each.cause for each in DjangoStore(RETENTION).suppression.find(["ann@xn--bcher-kva.example"])] == [
        Cause.ADDED
    ]


@pytest.mark.parametrize("address", ["", "ann", "a@example.com, b@example.com"])
def test_what_is_no_address_is_refused(address: str) -> None:
    text = posted(client_of(*MAY), reverse(ADD), address=address)
    assert "errorlist" in text
    assert listed() == []


def test_addresses_are_removed() -> None:
    suppress("ann@example.com")
    suppress("bob@example.com")
    chosen = SuppressedEmail.objects.get(address="ann@example.com")
    data: dict[str, Any] = {"action": "delete_selected", "_selected_action": chosen.pk, "post": "yes"}
    posted(client_of(*MAY), reverse(LIST), **data)
    assert listed() == [("bob@example.com", "bounced")]


def test_an_entry_cannot_be_changed() -> None:
    suppress("ann@example.com")
    entry = SuppressedEmail.objects.get()
    url = reverse("admin:celery_mailproxy_suppressedemail_change", args=[entry.pk])
    client: Client = client_of(*MAY, "change_suppressedemail")
    assert 'name="address"' not in page(client, url)
    assert client.post(url, {"address": "bob@example.com"}).status_code == 403
    assert listed() == [("ann@example.com", "bounced")]


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [((), [403, 403]), (("view_suppressedemail",), [200, 403]), (("add_suppressedemail",), [403, 200])],
)
def test_who_may_do_what_is_for_djangos_permissions(permissions: tuple[str, ...], statuses: list[int]) -> None:
    client = client_of(*permissions)
    assert [client.get(reverse(each)).status_code for each in (LIST, ADD)] == statuses
