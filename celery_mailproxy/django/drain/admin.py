"""Dead letters in Django's admin: to be looked at, tried again or deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from celery import current_app
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..backend.publishing import BROKER_ERRORS
from .models import DeadLetter
from .tasks import send_dead_letter

__all__ = ["DeadLetterAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[DeadLetter]
else:
    _ModelAdmin = admin.ModelAdmin

_SHOWN_LENGTH = 100_000


@admin.register(DeadLetter)
class DeadLetterAdmin(_ModelAdmin):
    """Nobody can edit one. Who may change mails can have them tried again."""

    list_display = ("message_id", "reason", "created_at")
    readonly_fields = ("message_id", "task_id", "reason", "created_at", "updated_at", "shown_content")
    search_fields = ("message_id", "task_id", "reason")
    ordering = ("-created_at", "-pk")
    actions = ("try_again",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return False

    def has_action_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have letters tried again."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    @admin.action(description=gettext_lazy("Try again"), permissions=["action"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Publish a task for each letter; those that the proxy takes are gone afterwards."""
        letters = list(queryset.exclude(content=""))
        if len(letters) < queryset.count():
            # They are on the broker still.
            text = _("Tasks that could not be decoded are tried again by manage.py mailproxy_requeue.")
            self.message_user(request, text, messages.WARNING)
        if not letters:
            return
        task = current_app.tasks[send_dead_letter.name]
        try:
            for letter in letters:
                task.apply_async((letter.pk,))
        except BROKER_ERRORS:
            self.message_user(request, _("The broker cannot be reached."), messages.ERROR)
            return
        text = ngettext(
            "%(count)d dead letter is tried again; it disappears here when it is sent.",
            "%(count)d dead letters are tried again; they disappear here when they are sent.",
            len(letters),
        )
        self.message_user(request, text % {"count": len(letters)}, messages.SUCCESS)

    @admin.display(description=gettext_lazy("content"))
    def shown_content(self, letter: DeadLetter) -> str:
        """What was queued, as it lay there; of a long one the beginning."""
        if not letter.content:
            return "–"
        text = json.dumps(json.loads(letter.content), indent=2, ensure_ascii=False)
        # A lone surrogate cannot be written to a page.
        text = text[:_SHOWN_LENGTH].encode("utf-8", "backslashreplace").decode()
        return format_html("<pre>{}</pre>", text)
