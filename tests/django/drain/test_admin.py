"""Dead letters in the admin: read by whoever may, tried again by whoever may change them, written by nobody."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from celery_mailproxy.django.drain.models import DeadLetter
from tests.django.harness.publishing_app import published

pytestmark = pytest.mark.django_db

LIST = "admin:celery_mailproxy_drain_deadletter_changelist"


@pytest.fixture
def letter() -> DeadLetter:
    return DeadLetter.objects.create(
        message_id="task-digest",
        task_id="task",
        reason="attachments[0]: must hold base64",
        content='{"subject": "Gr\\u00fc\\u00dfe", "body": "<script>\\ud800"}',
    )


def user_with(users: Any, *permissions: str) -> Any:
    from django.contrib.auth.models import Permission

    user = users.objects.create_user("ann", is_staff=True)
    names = [f"{name}_deadletter" for name in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def test_letter_is_shown_as_text(admin_client: Client, letter: DeadLetter) -> None:
    shown = admin_client.get(reverse(LIST)).content.decode()
    assert "task-digest" in shown
    assert "must hold base64" in shown
    url = reverse("admin:celery_mailproxy_drain_deadletter_change", args=[letter.pk])
    page = admin_client.get(url).content.decode()
    assert "Grüße" in page
    assert "&lt;script&gt;" in page
    assert 'name="_save"' not in page


def test_letter_is_tried_again(admin_client: Client, letter: DeadLetter) -> None:
    with published() as tasks:
        data = {"action": "try_again", "_selected_action": [letter.pk]}
        page = admin_client.post(reverse(LIST), data, follow=True).content.decode()
    assert [(task.name, task.args) for task in tasks] == [("celery_mailproxy.send_dead_letter", (letter.pk,))]
    assert "1 dead letter is tried again" in page


def test_who_may_only_look_cannot_try_again(client: Client, letter: DeadLetter, django_user_model: Any) -> None:
    client.force_login(user_with(django_user_model, "view"))
    with published() as tasks:
        data = {"action": "try_again", "_selected_action": [letter.pk]}
        client.post(reverse(LIST), data)
    assert tasks == []
    assert client.get(reverse(LIST)).status_code == 200


def test_who_may_change_can_try_again_and_edit_nothing(
    client: Client, letter: DeadLetter, django_user_model: Any
) -> None:
    client.force_login(user_with(django_user_model, "view", "change"))
    with published() as tasks:
        client.post(reverse(LIST), {"action": "try_again", "_selected_action": [letter.pk]})
    assert len(tasks) == 1
    url = reverse("admin:celery_mailproxy_drain_deadletter_change", args=[letter.pk])
    assert client.post(url, {"reason": "none"}).status_code == 403


def test_broker_that_is_down_is_told(admin_client: Client, letter: DeadLetter) -> None:
    options = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    conf = {"broker_url": "redis://127.0.0.1:1/0", "broker_transport_options": options, "task_publish_retry": False}
    with published(**conf):
        data = {"action": "try_again", "_selected_action": [letter.pk]}
        page = admin_client.post(reverse(LIST), data, follow=True).content.decode()
    assert "The broker cannot be reached." in page
