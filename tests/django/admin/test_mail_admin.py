"""The admin: who may do what, what a page costs, and what it shows."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.django.admin import counts as admin_counts
from celery_mailproxy.django.admin import filters as admin_filters
from celery_mailproxy.django.admin import mail_admin
from celery_mailproxy.django.admin import paging as admin_paging
from celery_mailproxy.django.admin.narrowing import narrowed
from celery_mailproxy.django.log import beginning
from celery_mailproxy.django.log.entries import LogEntry
from celery_mailproxy.django.log.row_texts import exact
from celery_mailproxy.django.log.tags import write_tags
from celery_mailproxy.django.models import EmailLog, EmailLogRelation
from tests.django.harness.admin_pages import LIST, SOURCE, client_of, detail, new_event, new_mail, page, shown

pytestmark = pytest.mark.django_db


# Who may do what


def test_without_a_permission_nothing_is_shown() -> None:
    mail = new_mail(content=SOURCE)
    client = client_of()
    for url in (reverse(LIST), detail(mail), detail(mail, "content", "html"), detail(mail, "resend")):
        page(client, url, 403)


def test_who_may_view_sees_everything_and_can_do_nothing(viewer: Client) -> None:
    mail = new_mail(content=SOURCE, has_failed=True)
    new_event(mail, "sent", failed='["mail_sent:shop.handlers.pay"]')
    text = page(viewer, reverse(LIST))
    assert "Subject of m1" in text
    assert 'name="action"' not in text
    text = page(viewer, detail(mail))
    assert "mail_sent:shop.handlers.pay" in text
    assert detail(mail, "resend") not in text
    assert detail(mail, "replay") not in text
    page(viewer, detail(mail, "content", "html"))
    page(viewer, detail(mail, "resend"), 403)
    for url in (detail(mail, "resend"), detail(mail, "replay"), detail(mail)):
        assert viewer.post(url).status_code == 403
    assert EmailLog.objects.count() == 1


def test_nobody_adds_edits_or_deletes(admin_client: Client) -> None:
    mail = new_mail()
    for view in ("add",):
        page(admin_client, reverse(f"admin:celery_mailproxy_emaillog_{view}"), 403)
    page(admin_client, detail(mail, "delete"), 403)
    assert admin_client.post(detail(mail), {"subject": "another"}).status_code == 403
    assert "delete_selected" not in page(admin_client, reverse(LIST))


def test_an_unknown_mail_is_not_found(admin_client: Client) -> None:
    mail = new_mail()
    EmailLog.objects.all().delete()
    mail.pk = 1
    page(admin_client, detail(mail, "content", "html"), 404)
    page(admin_client, detail(mail, "resend"), 404)
    page(admin_client, detail(mail), 302)


# The list


def test_the_list_is_newest_first_whatever_is_asked_for(viewer: Client) -> None:
    now = datetime.now(timezone.utc)
    for number in range(3):
        new_mail(f"m{number}", created_at=now - timedelta(hours=number))
    assert shown(page(viewer, reverse(LIST))) == ["m0", "m1", "m2"]
    assert shown(page(viewer, reverse(LIST), o="1.2")) == ["m0", "m1", "m2"]


def test_a_status_is_a_word_and_not_a_colour_alone(viewer: Client) -> None:
    for status in EmailLog.Status.values:
        new_mail(status, status=status)
    text = page(viewer, reverse(LIST))
    for status, label in EmailLog.Status.choices:
        assert f'<span class="mailproxy-badge mailproxy-{status}">{label}</span>' in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status__exact": "error"}, ["failed"]),
        ({"since": "24h"}, ["failed", "fresh"]),
        ({"since": "30d"}, ["failed", "fresh", "lastweek"]),
        ({"since": "nonsense"}, ["failed", "fresh", "lastweek", "old"]),
        ({"created_from": "2020-01-01", "created_to": "2020-01-31"}, ["old"]),
        ({"created_to": "2020-01-14"}, []),
        ({"created_to": "2020-01-15"}, ["old"]),
        ({"created_from": "0001-01-01", "created_to": "soon"}, ["failed", "fresh", "lastweek", "old"]),
        ({"tenant_id": "globex"}, ["old"]),
        ({"account_id": "bulk"}, ["lastweek"]),
        ({"has_failed": "1"}, ["failed"]),
        ({"q": "FRE"}, ["fresh"]),
        ({"q": "zoe@ subject"}, ["old"]),
        ({"q": "old"}, ["old"]),
        ({"q": "m4r1l@"}, ["fresh"]),
        ({"status__exact": "sent", "tenant_id": "acme"}, ["fresh", "lastweek"]),
        ({"status__exact": "sent", "tenant_id": "acme", "account_id": "bulk"}, ["lastweek"]),
        ({"status__exact": "error", "has_failed": "1", "since": "7d"}, ["failed"]),
        ({"status__exact": "sent", "has_failed": "1"}, []),
        ({"status__exact": "no status", "tenant_id": "acme"}, []),
        ({"tenant_id": "acme", "account_id": "main", "q": "fre"}, ["fresh"]),
        ({"tenant_id": "globex", "account_id": "main", "q": "old"}, ["old"]),
        ({"tenant_id": "globex", "account_id": "bulk", "q": "old"}, []),
        ({"q": "zoe", "since": "24h"}, []),
    ],
)
def test_the_list_is_filtered_and_searched(viewer: Client, query: dict[str, Any], found: list[str]) -> None:
    now = datetime.now(timezone.utc)
    new_mail("failed", status="error", has_failed=True)
    new_mail("fresh", created_at=now - timedelta(hours=1), sender="m4r1l@example.com")
    new_mail("lastweek", created_at=now - timedelta(days=8), account_id="bulk")
    old = datetime(2020, 1, 15, 12, tzinfo=timezone.utc)
    new_mail("old", created_at=old, tenant_id="globex", recipients="zoe@example.com\nbob@example.com")
    assert shown(page(viewer, reverse(LIST), **query)) == found


def test_an_odd_id_is_found_as_it_is_and_not_as_the_database_has_it(viewer: Client) -> None:
    now = datetime.now(timezone.utc)
    # In a subject the search would find it in any case.
    beginning.begin([LogEntry(message_id="a\\b")], settings=Settings())
    beginning.begin([LogEntry(message_id="x" * 300)], settings=Settings())
    EmailLog.objects.update(created_at=now - timedelta(days=1))
    EmailLog.objects.bulk_create([_row(number) for number in range(3)])
    for message_id in ("a\\b", "x" * 300):
        found = EmailLog.objects.get(message_id=exact(message_id))
        assert f'href="{detail(found)}' in page(viewer, reverse(LIST), q=message_id)


def test_a_filter_keeps_the_others(viewer: Client) -> None:
    for number in range(2):
        new_mail(f"m{number}", tenant_id=f"t{number}")
    text = page(viewer, reverse(LIST), tenant_id="t1", status__exact="sent", q="m1")
    assert 'href="?q=m1&amp;since=24h&amp;status__exact=sent&amp;tenant_id=t1"' in text
    form = re.search(r'<form method="get" class="mailproxy-filter">.*?</form>', text, re.S)
    assert form
    for name, value in (("tenant_id", "t1"), ("status__exact", "sent"), ("q", "m1")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in form[0]


def test_where_there_are_many_tenants_a_text_field_takes_one(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_filters, "CHOICES_LIMIT", 2)
    for number in range(3):
        new_mail(f"m{number}", tenant_id=f"t{number}")
    text = page(viewer, reverse(LIST), tenant_id="t1")
    assert shown(text) == ["m1"]
    assert '<input type="text" name="tenant_id" value="t1">' in text


def test_the_counts_on_top_are_those_of_the_last_days(viewer: Client) -> None:
    now = datetime.now(timezone.utc)
    for number, days in enumerate((0, 0, 3, 10)):
        new_mail(f"m{number}", created_at=now - timedelta(days=days))
    counts = admin_counts.count_by_status(EmailLog.objects.all(), labels=dict(EmailLog.Status.choices))
    assert [count for each in counts if each.status == "sent" for _, count, _ in each.counts] == [2, 3]
    assert sum(count for each in counts for _, count, _ in each.counts) == 5
    text = page(viewer, reverse(LIST))
    assert '<dd><a href="?status__exact=sent&amp;since=7d">3</a></dd>' in text
    assert len(shown(page(viewer, reverse(LIST), status__exact="sent", since="7d"))) == 3


# What it costs


def test_counting_stops(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (admin_paging, admin_counts):
        monkeypatch.setattr(module, "COUNT_LIMIT", 60)
    EmailLog.objects.bulk_create([_row(number) for number in range(61)])
    text = page(viewer, reverse(LIST))
    assert "60+ e-mails" in " ".join(text.split())
    assert ">60+</a></dd>" in text
    assert "There are more than can be paged through" in text
    assert "?p=2" in text
    assert "?p=3" not in text
    EmailLog.objects.first().delete()
    text = page(viewer, reverse(LIST))
    assert "60 e-mails" in " ".join(text.split())
    assert "There are more" not in text


def test_a_number_that_counting_stopped_at_says_so(settings: Any) -> None:
    assert str(admin_paging.AtLeast(10_000)) == "10,000+"
    settings.USE_THOUSAND_SEPARATOR = True
    # The digits are grouped by Django then, which a plus would confuse.
    assert str(admin_paging.AtLeast(10_000)) == "10000"


def test_a_search_reads_the_newest_mails_and_says_since_when(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_admin, "SEARCH_LIMIT", 10)
    newest = datetime(2026, 3, 31, 12, tzinfo=timezone.utc)
    EmailLog.objects.bulk_create([_row(days, created_at=newest - timedelta(days=days)) for days in range(30)])
    text = page(viewer, reverse(LIST), q="Subject of m")
    assert len(shown(text)) == 10
    assert "The newest 10 mails were searched, those since March 21, 2026" in text
    # A message id has an index, and a date brings older ones within reach.
    assert shown(page(viewer, reverse(LIST), q="m29")) == ["m29"]
    assert shown(page(viewer, reverse(LIST), q="Subject of m29")) == []
    assert shown(page(viewer, reverse(LIST), q="Subject of m29", created_to="2026-03-05")) == ["m29"]


def test_filters_chosen_together_read_the_newest_mails_and_say_since_when(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_admin, "SEARCH_LIMIT", 5)
    newest = datetime(2026, 3, 31, 12, tzinfo=timezone.utc)
    EmailLog.objects.bulk_create(
        _row(days, created_at=newest - timedelta(days=days), account_id="bulk" if days == 29 else "main")
        for days in range(30)
    )
    # Of the one with the fewest mails no more are read than the limit, and all of them where they are not more.
    text = page(viewer, reverse(LIST), tenant_id="t0", status__exact="sent")
    assert shown(text) == [f"m{days}" for days in range(0, 15, 3)]
    assert "The newest 5 mails were searched, those since March 16, 2026" in text
    text = page(viewer, reverse(LIST), account_id="bulk", status__exact="sent")
    assert shown(text) == ["m29"]
    assert "were searched" not in text
    # One filter alone reads no more than it shows.
    assert len(shown(page(viewer, reverse(LIST), tenant_id="t0"))) == 10


def _row(number: int, **fields: Any) -> EmailLog:
    now = datetime.now(timezone.utc)
    values = {"status": "sent", "created_at": now, "updated_at": now, "expires_at": now, "tenant_id": f"t{number % 3}"}
    return EmailLog(message_id=f"m{number}", subject=f"Subject of m{number}", **{**values, **fields})


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"p": "2"},
        {"status__exact": "error"},
        {"since": "7d"},
        {"created_from": "2020-01-01", "created_to": "2030-01-31"},
        {"tenant_id": "t1"},
        {"account_id": "main"},
        {"has_failed": "1"},
        {"status__exact": "sent", "tenant_id": "t1"},
        {"tenant_id": "t1", "account_id": "main"},
        {"status__exact": "sent", "tenant_id": "t1", "account_id": "main", "since": "7d"},
        {"has_failed": "1", "status__exact": "sent"},
        {"has_failed": "1", "tenant_id": "t1"},
        {"q": "m7"},
        {"q": "nothing"},
        {"q": "nothing", "status__exact": "sent", "tenant_id": "t1"},
    ],
    ids=str,
)
def test_no_query_of_the_list_reads_the_whole_table(
    viewer: Client, query: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_admin, "SEARCH_LIMIT", 20)
    now = datetime.now(timezone.utc)
    EmailLog.objects.bulk_create([_row(number, created_at=now - timedelta(hours=number)) for number in range(200)])
    with CaptureQueriesContext(connection) as captured:
        page(viewer, reverse(LIST), **query)
    about_mails = [each["sql"] for each in captured if '"celery_mailproxy_emaillog"' in each["sql"].replace("`", '"')]
    assert len(about_mails) >= 5
    for sql in about_mails:
        assert "DISTINCT" not in sql
        plan = _plan(sql)
        # Without a condition and without an end it may be read in the order of an index, page by page.
        assert not re.search(r"SCAN celery_mailproxy_emaillog(?! USING)", plan), f"{sql}\n{plan}"
        assert "SCAN celery_mailproxy_emaillog" not in plan or " LIMIT " in sql, f"{sql}\n{plan}"
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, f"{sql}\n{plan}"


@pytest.mark.parametrize("column", ["status", "tenant_id", "account_id", "has_failed"])
def test_filters_chosen_together_are_read_by_the_index_of_the_rarest(viewer: Client, column: str) -> None:
    common = {"status": "sent", "tenant_id": "t1", "account_id": "main", "has_failed": True}
    rare = {"status": "error", "tenant_id": "rare", "account_id": "rare", "has_failed": False}
    # Of what is chosen all have but one value, which only few have.
    rows = [{**rare, column: common[column]}] * 3 + [{**common, column: rare[column]}] * 40
    EmailLog.objects.bulk_create(_row(number, **fields) for number, fields in enumerate(rows))
    queryset, since = narrowed(EmailLog.objects.order_by("-created_at", "-id"), common, limit=10)
    index = {"status": "status", "tenant_id": "tenant", "account_id": "account", "has_failed": "failed"}[column]
    assert since is None
    if connection.vendor == "sqlite":
        assert f"USING INDEX mailproxy_{index} ({column}=?)" in queryset.explain()


def _plan(sql: str) -> str:
    """How SQLite goes about it. The test runs on SQLite alone: the others choose by the number of rows."""
    if connection.vendor != "sqlite":
        return ""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(str(row[3]) for row in cursor.fetchall())


def test_the_number_of_queries_does_not_grow_with_the_mails(viewer: Client) -> None:
    counts = []
    for begin, end in ((0, 5), (5, 120)):
        EmailLog.objects.bulk_create([_row(number) for number in range(begin, end)])
        with CaptureQueriesContext(connection) as captured:
            page(viewer, reverse(LIST))
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 16


def test_the_list_does_not_load_contents(viewer: Client) -> None:
    new_mail(content=SOURCE)
    with CaptureQueriesContext(connection) as captured:
        page(viewer, reverse(LIST))
    assert not [each["sql"] for each in captured if '"content",' in each["sql"] or '"callbacks"' in each["sql"]]


# One mail


def test_the_timeline_tells_what_happened(viewer: Client) -> None:
    mail = new_mail(status="bounced", error_message="no such user")
    new_event(mail, "queued")
    new_event(mail, "deferred", reason="451 try <b>later</b>", code="451")
    new_event(mail, "sent", failed='["mail_sent:shop.handlers.pay"]')
    new_event(mail, "bounced", reason="no such user", code="550", bounce_type="hard")
    new_event(mail, "deferred", reason="too late", claim=None, is_dispatched=False)
    text = page(viewer, detail(mail))
    timeline = text[text.index('class="mailproxy-timeline"') :]
    kinds = re.findall(r"mailproxy-badge mailproxy-(\w+)", timeline)
    assert kinds == ["new", "queued", "deferred", "sent", "bounced", "deferred"]
    assert "451 try &lt;b&gt;later&lt;/b&gt;" in timeline
    assert "code 550 · hard" in timeline
    assert "<code>mail_sent:shop.handlers.pay</code>" in timeline
    assert "came too late to count" in timeline


def test_related_objects_are_links_for_those_who_may_see_them(admin_client: Client, viewer: Client) -> None:
    mail = new_mail()
    about = User.objects.create(username="zoe")
    kind = ContentType.objects.get_for_model(User)
    EmailLogRelation.objects.create(log=mail, content_type=kind, object_id=str(about.pk))
    EmailLogRelation.objects.create(log=mail, content_type=kind, object_id="987654")
    text = page(admin_client, detail(mail))
    assert f'<a href="{reverse("admin:auth_user_change", args=[about.pk])}">zoe</a>' in text
    assert "#987654" in text
    text = page(viewer, detail(mail))
    assert "zoe" not in text
    assert f"#{about.pk}" in text


def test_a_mail_for_each_recipient_leads_to_the_whole_and_back(viewer: Client) -> None:
    whole = new_mail("m1", members='["ann@example.com", "bob@example.com"]', recipients="")
    parts = [
        new_mail(f"m1-{index}", parent_id="m1", recipients=f"{name}@example.com")
        for index, name in enumerate(("ann", "bob"))
    ]
    new_mail("m1-2", recipients="else@example.com")
    text = page(viewer, detail(whole))
    for part in parts:
        assert f'<a href="{detail(part)}">{part.recipients}</a>' in text
        assert f'Part of <a href="{detail(whole)}">Subject of m1</a>' in page(viewer, detail(part))
    assert "else@example.com" not in text


def test_without_content_the_page_says_which_setting_keeps_it(viewer: Client) -> None:
    text = page(viewer, detail(new_mail()))
    assert "MAIL_PROXY_LOG_CONTENT = True" in text
    assert "<iframe" not in text


def test_the_preview_runs_nothing_and_loads_nothing(viewer: Client) -> None:
    mail = new_mail(content=SOURCE)
    text = page(viewer, detail(mail))
    assert re.search(rf'<iframe src="{detail(mail, "content", "html")}" sandbox referrerpolicy="no-referrer"', text)
    assert "<pre>Thank you.</pre>" in text
    assert "<script>alert" not in text
    response = viewer.get(detail(mail, "content", "html"))
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "; sandbox" in policy
    assert "script-src" not in policy
    assert "allow-" not in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response["Cache-Control"]
    assert '<head><meta charset="utf-8"><base target="_blank">' in response.content.decode()


def test_the_source_is_a_download(viewer: Client) -> None:
    mail = new_mail('odd"/id', content=SOURCE)
    response = viewer.get(detail(mail, "content", "source"))
    assert response.content == SOURCE
    assert response["Content-Disposition"] == 'attachment; filename="odd__id.eml"'
    assert response["Content-Type"] == "message/rfc822"
    page(viewer, detail(mail, "content", "other"), 404)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"no headers at all",
        b"Content-Type: multipart/mixed\n\nwithout a boundary",
        b"Content-Type: text/html; charset=klingon\n\n<p>\xff\xfe</p>",
        b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n!!!",
        b"Content-Type: multipart/alternative\n\nwithout a boundary",
        b"Content-Type: message/rfc822\n\nSubject: inner\n\nText",
    ],
)
def test_a_broken_mail_is_shown_as_far_as_it_goes(viewer: Client, source: bytes) -> None:
    mail = new_mail(content=source)
    page(viewer, detail(mail))
    page(viewer, detail(mail, "content", "html"))


def test_inline_images_are_shown(viewer: Client) -> None:
    source = (
        b'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="b"\n\n'
        b'--b\nContent-Type: text/html\n\n<img src="cid:logo"><img src="cid:gone">\n'
        b"--b\nContent-Type: image/png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\niVBORw==\n--b--\n"
    )
    text = page(viewer, detail(new_mail(content=source), "content", "html"))
    assert '<img src="data:image/png;base64,iVBORw=="><img src="cid:gone">' in text


# Colours


def _themes() -> list[dict[str, str]]:
    """The colours of the light theme, and twice those of the dark one: as the system's choice, and as one's own."""
    css = finders.find("celery_mailproxy/admin.css")
    assert css
    blocks = re.findall(r"\{((?:\s*--mailproxy-[\w-]+: #[0-9a-f]{6};)+)\s*\}", Path(css).read_text())
    return [dict(re.findall(r"--mailproxy-([\w-]+): (#\w+);", block)) for block in blocks]


def _luminance(color: str) -> float:
    channels = [int(color[position : position + 2], 16) / 255 for position in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1, 2])
@pytest.mark.parametrize("status", EmailLog.Status.values)
def test_a_badge_is_readable_in_every_theme(theme: int, status: str) -> None:
    colors = _themes()[theme]
    dark, light = sorted((_luminance(colors[f"{status}-fg"]), _luminance(colors[f"{status}-bg"])))
    # https://www.w3.org/TR/WCAG21/#contrast-enhanced
    assert (light + 0.05) / (dark + 0.05) >= 7


def test_both_ways_to_the_dark_theme_give_one_theme() -> None:
    light, by_system, by_choice = _themes()
    assert by_system == by_choice
    assert by_system.keys() == light.keys()
    assert by_system != light


# Metadata and tags


def tagged(message_id: str, *tags: str, **fields: Any) -> EmailLog:
    mail = new_mail(message_id, tags=json.dumps(tags), **fields)
    write_tags([(mail.pk, tags)], alias="default")
    return mail


def test_a_tag_finds_its_mails(viewer: Client) -> None:
    now = datetime.now(timezone.utc)
    tagged("m1", "receipt", "vip, or nearly", created_at=now - timedelta(hours=1))
    tagged("m2", "receipt", status="error", created_at=now)
    new_mail("m3")
    assert shown(page(viewer, reverse(LIST), tag="receipt")) == ["m2", "m1"]
    assert shown(page(viewer, reverse(LIST), tag="vip, or nearly")) == ["m1"]
    assert shown(page(viewer, reverse(LIST), tag="receipt", status__exact="error")) == ["m2"]
    assert shown(page(viewer, reverse(LIST), tag="receipt", q="Subject of m1")) == ["m1"]
    assert shown(page(viewer, reverse(LIST), tag="unknown")) == []
    assert "?tag=receipt" in page(viewer, reverse(LIST))


def test_without_tags_there_is_no_such_filter(viewer: Client) -> None:
    new_mail()
    assert "tag=" not in page(viewer, reverse(LIST))


def test_a_mails_page_shows_what_the_application_has_given(viewer: Client) -> None:
    mail = tagged("m1", "receipt", "vip", metadata='{"order": 7, "note": "f\\u00fcr <b>"}')
    text = page(viewer, detail(mail))
    assert "receipt, vip" in text
    assert "für &lt;b&gt;" in text
