"""The admin's actions: resending and cancelling mails, and running failed handlers again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ...control.cancellation import CancelOutcome
from ...control.cancelling import cancel_many
from ...errors import MailProxyError
from ..backend.publishing import BROKER_ERRORS
from ..backend.resending import ResendRefused, new_token, refusal, resend
from ..log.models import EmailLog
from ..log.row_codec import message_id_of
from ..tasks import replay_handlers
from .detail import link_to

__all__ = ["ACTION_LIMIT", "MailActions"]

#: How many mails one action takes.
ACTION_LIMIT = 100

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[EmailLog]
else:
    _ModelAdmin = object


class MailActions(_ModelAdmin):
    """The part of `EmailLogAdmin` that does something. It needs the permission to change mails."""

    def has_action_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resend and replay."""
        return self._has_permission(request, "change")

    def _has_permission(self, request: HttpRequest, what: str) -> bool:
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{what}_{self.opts.model_name}"))

    @admin.action(description=gettext_lazy("Resend"), permissions=["action"])
    def resend(self, request: HttpRequest, queryset: QuerySet[EmailLog]) -> HttpResponse | None:
        """Ask, then resend those of the mails that can be."""
        mails = self._chosen(request, queryset)
        reasons = {mail.pk: refusal(mail) for mail in mails}
        for reason in dict.fromkeys(str(each) for each in reasons.values() if each):
            count = sum(str(each) == reason for each in reasons.values())
            text = ngettext("%(count)d e-mail is left out.", "%(count)d e-mails are left out.", count)
            self.message_user(request, f"{text % {'count': count}} {reason}", messages.WARNING)
        mails = [mail for mail in mails if not reasons[mail.pk]]
        if not mails:
            return None
        if "confirmed" not in request.POST:
            return self._ask(request, mails, back_url=request.get_full_path())
        self._resend(request, mails)
        return None

    @admin.action(description=gettext_lazy("Run failed handlers again"), permissions=["action"])
    def replay(self, request: HttpRequest, queryset: QuerySet[EmailLog]) -> None:
        """Run the failed handlers of the mails again."""
        self._replay(request, self._chosen(request, queryset))

    @admin.action(description=gettext_lazy("Cancel sending"), permissions=["action"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[EmailLog]) -> None:
        """Cancel those of the mails that have not been sent, and say what that came to."""
        mails = {message_id_of(mail.message_id, mail.details): mail for mail in self._chosen(request, queryset)}
        try:
            answers = cancel_many(mails)
        except MailProxyError as exc:
            self._notify_failure(request, exc)
            return
        for answer in answers:
            if answer.is_cancelled:
                self.log_change(request, mails[answer.message_id], _("Cancelled."))
        too_late = [each for each in answers if each.outcome is CancelOutcome.TOO_LATE]
        cancelled = [each for each in answers if each.is_cancelled]
        unclear = len(answers) - len(cancelled) - len(too_late)
        if count := len(cancelled):
            text = ngettext("%(count)d e-mail is cancelled.", "%(count)d e-mails are cancelled.", count)
            self.message_user(request, text % {"count": count}, messages.SUCCESS)
        if count := len(too_late):
            text = ngettext("For %(count)d e-mail it was too late.", "For %(count)d e-mails it was too late.", count)
            self.message_user(request, text % {"count": count}, messages.WARNING)
        if unclear:
            text = ngettext("%(count)d e-mail may have been sent.", "%(count)d e-mails may have been sent.", unclear)
            self.message_user(request, text % {"count": unclear}, messages.WARNING)

    def _chosen(self, request: HttpRequest, queryset: QuerySet[EmailLog]) -> list[EmailLog]:
        mails = list(queryset[: ACTION_LIMIT + 1])
        if len(mails) <= ACTION_LIMIT:
            return mails
        self.message_user(request, _("Choose at most %(limit)d e-mails.") % {"limit": ACTION_LIMIT}, messages.ERROR)
        return []

    def _ask(self, request: HttpRequest, mails: Sequence[EmailLog], *, back_url: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Resend"),
            "opts": self.opts,
            "media": self.media,
            "mails": [link_to(mail, self.admin_site) for mail in mails],
            "pks": [mail.pk for mail in mails],
            "token": new_token(),
            "back_url": back_url,
        }
        return TemplateResponse(request, "celery_mailproxy/admin/resend.html", context)

    def _resend(self, request: HttpRequest, mails: Sequence[EmailLog]) -> list[EmailLog]:
        token = request.POST.get("token", "")
        token = token if re.fullmatch(r"[0-9a-f]{8}", token) else new_token()
        done = []
        for mail in mails:
            try:
                again = resend(mail, token=token)
            except ResendRefused as exc:
                self.message_user(request, f"{mail.message_id}: {exc}", messages.ERROR)
                continue
            except (MailProxyError, *BROKER_ERRORS) as exc:
                self._notify_failure(request, exc)
                break
            self.log_change(request, mail, _("Resent as %(message_id)s.") % {"message_id": again.message_id})
            done.append(again)
        if done:
            text = ngettext("%(count)d e-mail is sent again.", "%(count)d e-mails are sent again.", len(done))
            self.message_user(request, text % {"count": len(done)}, messages.SUCCESS)
        return done

    def _replay(self, request: HttpRequest, mails: Sequence[EmailLog]) -> None:
        failed = [mail for mail in mails if mail.has_failed]
        if not failed:
            if mails:
                self.message_user(request, _("No handler has failed."), messages.INFO)
            return
        try:
            # Not here: handlers are written for a worker, and may take their time.
            replay_handlers.delay([message_id_of(mail.message_id, mail.details) for mail in failed])
        except BROKER_ERRORS as exc:
            self._notify_failure(request, exc)
            return
        for mail in failed:
            self.log_change(request, mail, _("Had the failed handlers run again."))
        text = ngettext(
            "The failed handlers of %(count)d e-mail are being run again. Its page shows which fail once more.",
            "The failed handlers of %(count)d e-mails are being run again. Their pages show which fail once more.",
            len(failed),
        )
        self.message_user(request, text % {"count": len(failed)}, messages.SUCCESS)

    def _notify_failure(self, request: HttpRequest, exc: Exception) -> None:
        text = str(exc) if isinstance(exc, MailProxyError) else _("The broker cannot be reached.")
        self.message_user(request, text, messages.ERROR)

    def resend_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then resend one mail."""
        mail = self._found(request, object_id, to_act=True)
        if reason := refusal(mail):
            self.message_user(request, reason, messages.ERROR)
        elif request.method != "POST":
            return self._ask(request, [mail], back_url=self._url("change", mail))
        elif again := self._resend(request, [mail]):
            return HttpResponseRedirect(self._url("change", again[0]))
        return HttpResponseRedirect(self._url("change", mail))

    def replay_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Run the failed handlers of one mail again."""
        mail = self._found(request, object_id, to_act=True)
        self._replay(request, [mail])
        return HttpResponseRedirect(self._url("change", mail))

    def _found(self, request: HttpRequest, object_id: str, *, to_act: bool = False) -> EmailLog:
        if not (self.has_action_permission(request) if to_act else self.has_view_permission(request)):
            raise PermissionDenied
        mail = self.get_object(request, unquote(object_id))
        if mail is None:
            raise Http404
        return mail

    def _url(self, view: str, mail: EmailLog, *args: str) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=[mail.pk, *args])
