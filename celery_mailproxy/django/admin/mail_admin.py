"""The log of mails in Django's admin: users with the view permission may look, and nobody can edit.

Users with the change permission may also resend mails and run failed handlers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.text import Truncator, format_lazy
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from ..log.models import EmailLog
from ..log.row_texts import exact
from . import preview
from .actions import ACTION_LIMIT, MailActions
from .counts import count_by_status
from .detail import badge, describe, local_time
from .filters import AccountFilter, FailedFilter, PeriodFilter, StatusFilter, TagFilter, TenantFilter
from .narrowing import choices_of, choosing, narrowed
from .paging import CappedPaginator

__all__ = ["ACTION_LIMIT", "SEARCH_LIMIT", "EmailLogAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[EmailLog]
else:
    _ModelAdmin = admin.ModelAdmin

#: How many of the newest mails a search reads, or filters chosen together: of those that fit the rarest of them.
SEARCH_LIMIT = 100_000


class _NewestFirst(ChangeList):
    """No other order: for that one there are indexes, whatever the filter."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-created_at", "-id"]


@admin.register(EmailLog)
class EmailLogAdmin(MailActions, _ModelAdmin):
    """Mails with their status, history and, where it is kept, content; nothing that reads the whole table."""

    list_display = (
        "shown_status",
        "shown_subject",
        "shown_recipients",
        "shown_created",
        "shown_place",
    )
    list_display_links = ("shown_subject",)
    list_filter = (StatusFilter, PeriodFilter, TenantFilter, AccountFilter, TagFilter, FailedFilter)
    list_per_page = 50
    search_fields = ("message_id", "recipients", "sender", "subject")
    search_help_text = gettext_lazy("Message id, recipient, sender or subject")
    sortable_by = ()
    show_full_result_count = False
    # Each choice of a filter with its count: a query over the whole table (Django 5.0).
    show_facets: ClassVar[Any] = getattr(getattr(admin, "ShowFacets", None), "NEVER", None)
    paginator = CappedPaginator
    actions = ("resend", "cancel", "replay")
    change_list_template = "celery_mailproxy/admin/change_list.html"
    change_form_template = "celery_mailproxy/admin/detail.html"

    class Media:
        css: ClassVar[dict[str, Sequence[str]]] = {"all": ["celery_mailproxy/admin.css"]}

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: EmailLog | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: EmailLog | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: EmailLog | None = None) -> bool:
        return self._has_permission(request, "view") or self._has_permission(request, "change")

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _NewestFirst

    def get_queryset(self, request: HttpRequest) -> QuerySet[EmailLog]:
        queryset = super().get_queryset(request)
        found: QuerySet[EmailLog] = queryset.defer("content", "callbacks", "members", "metadata", "suspension")
        return found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            labels = {value: str(label) for value, label in EmailLog.Status.choices}
            response.context_data |= {  # type: ignore[operator]
                "status_counts": count_by_status(EmailLog.objects.all(), labels=labels),
                "search_since": getattr(request, "mailproxy_search_since", None),
                "search_limit": SEARCH_LIMIT,
            }
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[EmailLog], search_term: str
    ) -> tuple[QuerySet[EmailLog], bool]:
        # Django comes here with every list, once the filters have been asked.
        term, choices = search_term.strip(), choices_of(request)
        chosen = choosing(queryset, choices)
        if not term and len(choices) < 2:
            return chosen, False
        if term and chosen.filter(message_id=exact(term)).exists():
            return chosen.filter(message_id=exact(term)), False
        # No index finds a word within a text, nor two values at once: so it ends somewhere, and the page says where.
        queryset, since = narrowed(queryset, choices, limit=SEARCH_LIMIT)
        request.mailproxy_search_since = since  # type: ignore[attr-defined]
        return super().get_search_results(request, queryset, search_term) if term else (queryset, False)

    @admin.display(description=gettext_lazy("status"))
    def shown_status(self, mail: EmailLog) -> SafeString:
        return badge(mail.status, mail.get_status_display())

    @admin.display(description=gettext_lazy("subject"))
    def shown_subject(self, mail: EmailLog) -> str:
        return Truncator(mail.subject or mail.message_id).chars(80)

    @admin.display(description=gettext_lazy("recipients"))
    def shown_recipients(self, mail: EmailLog) -> str:
        first, *others = mail.recipient_list or [""]
        return f"{Truncator(first).chars(60)} +{len(others)}" if others else Truncator(first).chars(60)

    @admin.display(description=gettext_lazy("created"))
    def shown_created(self, mail: EmailLog) -> str:
        return local_time(mail.created_at, "SHORT_DATETIME_FORMAT")

    @admin.display(description=format_lazy("{} / {}", gettext_lazy("tenant"), gettext_lazy("account")))
    def shown_place(self, mail: EmailLog) -> str:
        return " / ".join(filter(None, (mail.tenant_id, mail.account_id)))

    # One mail

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        own = [
            path("<path:object_id>/content/<str:part>/", wrap(self.content_view), name=f"{name}_content"),
            path("<path:object_id>/resend/", wrap(self.resend_view), name=f"{name}_resend"),
            path("<path:object_id>/replay/", wrap(require_POST(self.replay_view)), name=f"{name}_replay"),
        ]
        return own + super().get_urls()

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        mail: EmailLog = context["original"]
        may_act = self.has_action_permission(request)
        context |= {
            **describe(mail, request=request, site=self.admin_site),
            "subtitle": None,
            "content": preview.read_content(bytes(mail.content)) if mail.content is not None else None,
            "content_urls": {part: self._url("content", mail, part) for part in ("html", "source")},
            "resend_url": self._url("resend", mail) if may_act and mail.is_ended else "",
            "replay_url": self._url("replay", mail) if may_act and mail.has_failed else "",
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def content_view(self, request: HttpRequest, object_id: str, part: str) -> HttpResponse:
        """The kept content: its `html`, or its `source` as a file."""
        mail = self._found(request, object_id)
        if mail.content is None:
            raise Http404
        source = bytes(mail.content)
        if part == "html":
            return preview.html_response(preview.read_content(source))
        if part == "source":
            return preview.source_response(source, name=mail.message_id)
        raise Http404
