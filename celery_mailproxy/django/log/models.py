"""The log of mails: one `EmailLog` a message, one `EmailLogEvent` a report, and a mail's tags.

This is where the store `django://` keeps its deliveries. Ids are written as `row_texts.exact` makes them: nearly
always the id itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.contenttypes.models import ContentType
from django.db import models, router
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ...conf.settings import DEFAULT_SERVER
from ...deliveries import delivery as deliveries
from ...deliveries import report as reports
from ...mail import message as messages
from .fields import ExactCharField, MomentField, ShownTextField
from .pruning import PRUNED_AT_ONCE, prune_batch
from .row_texts import exact

__all__ = ["EmailLog", "EmailLogEvent", "EmailLogQuerySet", "EmailLogTag"]

_LENGTH = 255

#: The statuses after which nothing more is awaited.
_ENDS = tuple(status.value for status in deliveries.Status if status.is_end)


class EmailLogQuerySet(models.QuerySet["EmailLog"]):
    """What can be asked of the log beside Django's own."""

    def for_object(self, related: models.Model) -> EmailLogQuerySet:
        """The mails that are about this object; see `related=` of `send_mail`."""
        return self.filter(
            relations__content_type=ContentType.objects.get_for_model(related, for_concrete_model=True),
            relations__object_id=exact(str(related.pk)),
        )

    def ended(self) -> EmailLogQuerySet:
        """Mails of which nothing more is awaited."""
        return self.filter(status__in=_ENDS)

    def expired(self, now: datetime | None = None) -> EmailLogQuerySet:
        """Mails whose time to be kept is over."""
        return self.filter(expires_at__lte=now or reports.utcnow())

    def prune(self, *, batch_size: int = PRUNED_AT_ONCE) -> int:
        """Delete these mails with their history and kept contents, a transaction each batch; the number deleted.

        In the order of the query, which should be one of an index. A mail that somebody is writing to may be left.
        """
        # Where it is written to: what is deleted is locked first.
        rows = self.using(self._db or router.db_for_write(self.model))  # type: ignore[attr-defined]
        number = 0
        while deleted := prune_batch(rows, limit=batch_size):
            number += deleted
        return number


class _EmailLogManager(models.Manager.from_queryset(EmailLogQuerySet)):  # type: ignore[misc]
    """The manager of `EmailLog`."""


class EmailLog(models.Model):
    """One mail, as far as it is known.

    `is_known` is False until a worker has registered the mail, and where only reports have been seen of it.
    """

    class Status(models.TextChoices):
        """How far the mail has come; see `deliveries.Status`."""

        NEW = deliveries.Status.NEW.value, pgettext_lazy("mail status", "new")
        QUEUED = deliveries.Status.QUEUED.value, pgettext_lazy("mail status", "queued")
        DEFERRED = deliveries.Status.DEFERRED.value, pgettext_lazy("mail status", "deferred")
        SENT = deliveries.Status.SENT.value, pgettext_lazy("mail status", "sent")
        ERROR = deliveries.Status.ERROR.value, pgettext_lazy("mail status", "error")
        BOUNCED = deliveries.Status.BOUNCED.value, pgettext_lazy("mail status", "bounced")
        REJECTED = deliveries.Status.REJECTED.value, pgettext_lazy("mail status", "rejected")
        CANCELLED = deliveries.Status.CANCELLED.value, pgettext_lazy("mail status", "cancelled")
        EXPIRED = deliveries.Status.EXPIRED.value, pgettext_lazy("mail status", "expired")
        SUPPRESSED = deliveries.Status.SUPPRESSED.value, pgettext_lazy("mail status", "suppressed")

    class Priority(models.IntegerChoices):  # type: ignore[metaclass]
        """In which order the proxy sends; see `messages.Priority`."""

        IMMEDIATE = messages.Priority.IMMEDIATE.value, pgettext_lazy("mail priority", "immediate")
        HIGH = messages.Priority.HIGH.value, pgettext_lazy("mail priority", "high")
        MEDIUM = messages.Priority.MEDIUM.value, pgettext_lazy("mail priority", "medium")
        LOW = messages.Priority.LOW.value, pgettext_lazy("mail priority", "low")

    message_id = ExactCharField(_("message id"), max_length=_LENGTH, unique=True)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.NEW)
    is_known = models.BooleanField(_("registered"), default=False)

    created_at = MomentField(_("created"))
    #: When the worker took it: `Delivery.created_at`.
    registered_at = MomentField(_("registered at"), null=True, blank=True)
    updated_at = MomentField(_("last changed"))
    queued_at = MomentField(_("queued"), null=True, blank=True)
    sent_at = MomentField(_("sent"), null=True, blank=True)
    ended_at = MomentField(_("ended"), null=True, blank=True)

    sender = ShownTextField(_("sender"), blank=True, default="")
    #: The envelope's sender, where it is not the sender's address.
    return_path = ShownTextField(_("envelope sender"), null=True, blank=True)
    #: One a line.
    recipients = ShownTextField(_("recipients"), blank=True, default="")
    recipient_count = models.PositiveIntegerField(_("number of recipients"), null=True, blank=True)
    subject = ShownTextField(_("subject"), blank=True, default="")
    #: The newest reason among the reports that counted.
    error_message = ShownTextField(_("error message"), blank=True, default="")
    #: How often the proxy is known to have tried.
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    priority = models.PositiveSmallIntegerField(
        _("priority"),
        choices=Priority.choices,  # type: ignore[attr-defined]
        null=True,
        blank=True,
    )

    tenant_id = ExactCharField(_("tenant"), max_length=_LENGTH, blank=True, default="")
    account_id = ExactCharField(_("account"), max_length=_LENGTH, blank=True, default="")
    server = ExactCharField(_("server"), max_length=_LENGTH, blank=True, default=DEFAULT_SERVER)
    batch_code = ExactCharField(_("batch"), max_length=_LENGTH, blank=True, default="")
    task_id = ExactCharField(_("Celery task"), max_length=_LENGTH, blank=True, default="")

    #: The application's own, as JSON: "" where there is none. Each tag has a row of `EmailLogTag` besides.
    metadata = models.TextField(_("metadata"), blank=True, default="")
    tags = models.TextField(_("tags"), blank=True, default="")
    #: `Delivery.expires_at`; the column of that name is when the row itself does.
    not_after = MomentField(_("not sent after"), null=True, blank=True)

    #: The message id of the mail that went to each recipient alone, where this is one of its messages.
    parent_id = ExactCharField(_("parent"), max_length=_LENGTH, blank=True, default="")
    #: The recipients of such a mail, as a JSON list; "" for a mail that is a message itself.
    members = models.TextField(_("members"), blank=True, default="", editable=False)

    #: Serialised Celery signatures, as JSON; "" where there are none.
    callbacks = models.TextField(_("callbacks"), blank=True, default="", editable=False)
    #: As `codec.encode_suspension` writes it; "" where no result is suspended.
    suspension = models.TextField(_("suspended result"), blank=True, default="", editable=False)
    #: From when on the silence of a suspended result counts; see `suspension.silent_since`.
    silent_since = MomentField(null=True, blank=True, editable=False)
    #: When somebody has to look what became of it at the proxy; see `Retention.due_at`.
    due_at = MomentField(null=True, blank=True, editable=False)
    expires_at = MomentField(_("expires"))
    has_failed = models.BooleanField(_("has failed handlers"), default=False)

    resent_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="resends", verbose_name=_("resent from")
    )
    #: The mail's source (RFC 5322), where `MAIL_PROXY_LOG_CONTENT` is on.
    content = models.BinaryField(_("content"), null=True, blank=True)
    #: The file with the mail's content, while it is kept off the broker.
    content_name = models.CharField(max_length=_LENGTH, blank=True, default="", editable=False)
    #: JSON of what its own column cannot say exactly; mostly "". See `row_texts`.
    details = models.TextField(blank=True, default="", editable=False)

    objects: ClassVar[_EmailLogManager] = _EmailLogManager()

    class Meta:
        verbose_name = _("e-mail")
        verbose_name_plural = _("e-mails")
        indexes: ClassVar[list[models.Index]] = [
            # A list, newest first, is `-created_at, -id`: each of these gives it without sorting.
            models.Index(fields=["created_at", "id"], name="mailproxy_created"),
            models.Index(fields=["status", "created_at", "id"], name="mailproxy_status"),
            models.Index(fields=["tenant_id", "created_at", "id"], name="mailproxy_tenant"),
            models.Index(fields=["account_id", "created_at", "id"], name="mailproxy_account"),
            models.Index(fields=["updated_at"], name="mailproxy_updated"),
            models.Index(fields=["expires_at"], name="mailproxy_expires"),
            models.Index(fields=["has_failed", "created_at", "id"], name="mailproxy_failed"),
            models.Index(fields=["silent_since"], name="mailproxy_silent"),
            models.Index(fields=["due_at"], name="mailproxy_due"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} ({self.status})"

    @property
    def is_ended(self) -> bool:
        """True where nothing more is awaited (a bounce may still follow `sent`)."""
        return deliveries.Status(self.status).is_end

    @property
    def recipient_list(self) -> list[str]:
        """The recipients, as they stand in headers; none where they are not logged."""
        return self.recipients.split("\n") if self.recipients else []


class EmailLogEvent(models.Model):
    """One report of one mail: together, in the order of `position`, they are the mail's history."""

    class Kind(models.TextChoices):
        """What the report says; see `reports.Kind`."""

        QUEUED = reports.Kind.QUEUED.value, pgettext_lazy("mail report", "queued")
        REJECTED = reports.Kind.REJECTED.value, pgettext_lazy("mail report", "rejected")
        SENT = reports.Kind.SENT.value, pgettext_lazy("mail report", "sent")
        ERROR = reports.Kind.ERROR.value, pgettext_lazy("mail report", "error")
        DEFERRED = reports.Kind.DEFERRED.value, pgettext_lazy("mail report", "deferred")
        BOUNCED = reports.Kind.BOUNCED.value, pgettext_lazy("mail report", "bounced")
        COMPLAINED = reports.Kind.COMPLAINED.value, pgettext_lazy("mail report", "complained")
        CANCELLED = reports.Kind.CANCELLED.value, pgettext_lazy("mail report", "cancelled")
        EXPIRED = reports.Kind.EXPIRED.value, pgettext_lazy("mail report", "expired")
        SUPPRESSED = reports.Kind.SUPPRESSED.value, pgettext_lazy("mail report", "suppressed")
        OVERDUE = reports.Kind.OVERDUE.value, pgettext_lazy("mail report", "overdue")
        PEC = reports.Kind.PEC.value, pgettext_lazy("mail report", "certified mail")

    # Without an index of its own: the unique constraint begins with it.
    log = models.ForeignKey(EmailLog, on_delete=models.CASCADE, related_name="events", db_index=False)
    position = models.PositiveIntegerField()
    #: What makes two reports the same; see `DeliveryReport.key`.
    key = ExactCharField(max_length=_LENGTH)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    at = MomentField(_("time"))
    reason = ShownTextField(_("reason"), blank=True, default="")
    code = ExactCharField(_("code"), max_length=_LENGTH, blank=True, default="")
    bounce_type = ExactCharField(_("type of bounce"), max_length=_LENGTH, blank=True, default="")
    pec_event = ExactCharField(_("event of certified mail"), max_length=_LENGTH, blank=True, default="")
    #: Whom a bounce or a complaint is about.
    recipient = ExactCharField(_("recipient"), max_length=_LENGTH, blank=True, default="")
    event_id = ExactCharField(max_length=_LENGTH, blank=True, default="", editable=False)
    via = ExactCharField(_("via"), max_length=_LENGTH, blank=True, default="proxy")
    tenant_id = ExactCharField(_("tenant"), max_length=_LENGTH, blank=True, default="")
    #: The proxy's own entry, as JSON; "" for what we report ourselves.
    raw = models.TextField(_("raw report"), blank=True, default="")
    #: The claim of the run that dispatches it; "" once it is dispatched, None for a stale one, which nobody dispatches.
    claim = ExactCharField(_("claimed by"), max_length=_LENGTH, null=True, blank=True)
    claimed_at = MomentField(_("claimed"), null=True, blank=True)
    is_dispatched = models.BooleanField(_("dispatched"), default=False)
    #: Names of the handlers that failed, as a JSON list; "" where none did.
    failed = models.TextField(_("failed handlers"), blank=True, default="")
    #: JSON of what its own column cannot say exactly; mostly "".
    details = models.TextField(blank=True, default="", editable=False)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering: ClassVar[list[str]] = ["position"]
        # Only what is yet to be dispatched has one.
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["claimed_at"], name="mailproxy_claimed")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["log", "key"], name="mailproxy_event_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.at:%Y-%m-%d %H:%M:%S})"

    @property
    def is_stale(self) -> bool:
        """Whether the report came too late to count."""
        return self.claim is None


class EmailLogTag(models.Model):
    """A tag of a mail, to find the mails that have it: `EmailLog.tags` holds them in their order."""

    log = models.ForeignKey(EmailLog, on_delete=models.CASCADE, related_name="tag_rows")
    #: As `row_texts.exact` writes it.
    tag = ExactCharField(_("tag"), max_length=_LENGTH)

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tag", "log"], name="mailproxy_tag_once")
        ]

    def __str__(self) -> str:
        return self.tag
