"""What the admin shows of one mail: facts, timeline, what it is about, and the mails it was resent as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..log.models import EmailLog, EmailLogEvent
from ..log.row_codec import delivery_of
from ..log.row_texts import exact

__all__ = ["badge", "describe", "link_to", "local_time"]

#: How many related objects, resends and events one page shows.
_LIMIT = 200

_FACTS = (
    "error_message",
    "sender",
    "return_path",
    "recipients",
    "created_at",
    "queued_at",
    "sent_at",
    "ended_at",
    "attempts",
    "priority",
    "tenant_id",
    "account_id",
    "server",
    "batch_code",
    "tags",
    "metadata",
    "not_after",
    "message_id",
    "task_id",
    "expires_at",
)


def badge(status: str, label: Any) -> SafeString:
    """A status as a word on a ground of its colour."""
    return render_to_string("celery_mailproxy/admin/badge.html", {"status": status, "label": label})


def local_time(moment: datetime, named_format: str) -> str:
    """A time as the reader's language writes it."""
    return date_format(timezone.localtime(moment) if timezone.is_aware(moment) else moment, named_format)


def describe(mail: EmailLog, *, request: HttpRequest, site: AdminSite) -> dict[str, Any]:
    """The template's values for the page of this mail."""
    return {
        "badge": badge(mail.status, mail.get_status_display()),
        "heading": mail.subject or mail.message_id,
        "facts": list(_facts(mail)),
        "timeline": list(_timeline(mail)),
        "related": list(_related(mail, request, site)),
        "resends": [link_to(each, site) for each in mail.resends.defer("content").order_by("pk")[:_LIMIT]],
        "parent": _parent(mail, site),
        "members": _members(mail, site),
        "resent_from": link_to(mail.resent_from, site) if mail.resent_from else None,
    }


def link_to(mail: EmailLog, site: AdminSite) -> dict[str, Any]:
    """A mail in a list of links."""
    return {
        "url": reverse(f"{site.name}:celery_mailproxy_emaillog_change", args=[mail.pk]),
        "name": mail.subject or mail.message_id,
        "message_id": mail.message_id,
        "recipients": ", ".join(mail.recipient_list),
        "badge": badge(mail.status, mail.get_status_display()),
    }


def _parent(mail: EmailLog, site: AdminSite) -> dict[str, Any] | None:
    """The mail to many that this one to one recipient belongs to."""
    if not mail.parent_id:
        return None
    parent = EmailLog.objects.defer("content").filter(message_id=mail.parent_id).first()
    return link_to(parent, site) if parent else None


def _members(mail: EmailLog, site: AdminSite) -> list[dict[str, Any]]:
    """The mails to one recipient each that this one has been sent as."""
    if not mail.members:
        return []
    ids = delivery_of(mail, ()).member_ids[:_LIMIT]
    found = EmailLog.objects.defer("content").filter(message_id__in=[exact(each) for each in ids])
    return [link_to(each, site) for each in found.order_by("pk")]


def _facts(mail: EmailLog) -> Iterator[tuple[str, Any]]:
    for name in _FACTS:
        value = getattr(mail, name)
        if value is None or value == "":
            continue
        if isinstance(value, datetime):
            value = local_time(value, "DATETIME_FORMAT")
        elif name == "tags":
            value = ", ".join(json.loads(value))
        elif name == "metadata":
            value = json.dumps(json.loads(value), ensure_ascii=False, indent=1)
        elif name == "priority":
            value = mail.get_priority_display()
        yield str(EmailLog._meta.get_field(name).verbose_name), localize(value)  # type: ignore[union-attr]


def _timeline(mail: EmailLog) -> Iterator[dict[str, Any]]:
    first = EmailLog.Status("new")
    yield {"badge": badge(first.value, first.label), "at": mail.created_at}
    for event in mail.events.defer("raw").order_by("position")[:_LIMIT]:
        colour = event.kind if event.kind in EmailLog.Status.values else "new"
        yield {
            "badge": badge(colour, event.get_kind_display()),
            "at": event.at,
            "reason": event.reason,
            "details": _details(event),
            "failed": json.loads(event.failed) if event.failed else [],
        }


def _details(event: EmailLogEvent) -> list[str]:
    parts = [_("code %(code)s") % {"code": event.code}] if event.code else []
    parts += [text for text in (event.bounce_type, event.pec_event) if text]
    if event.via != "proxy":
        parts.append(_("via %(transport)s") % {"transport": event.via})
    if event.is_stale:
        parts.append(_("came too late to count"))
    elif not event.is_dispatched:
        parts.append(_("handlers have not run yet"))
    return parts


def _related(mail: EmailLog, request: HttpRequest, site: AdminSite) -> Iterator[dict[str, Any]]:
    """Objects by name and link for those who may see them, else by their id alone."""
    for relation in mail.relations.order_by("pk")[:_LIMIT]:
        content_type, related = relation.find_type(), relation.find_object()
        if content_type is None:
            continue
        shown = {"type": content_type.name, "name": f"#{relation.object_id}", "url": ""}
        model_admin = None if related is None else site._registry.get(type(related))
        if related is not None and model_admin is not None and model_admin.has_view_permission(request, related):
            shown |= {"name": str(related), "url": _admin_url(related, site)}
        yield shown


def _admin_url(related: Any, site: AdminSite) -> str:
    opts = related._meta
    try:
        return reverse(f"{site.name}:{opts.app_label}_{opts.model_name}_change", args=[related.pk])
    except NoReverseMatch:
        return ""
