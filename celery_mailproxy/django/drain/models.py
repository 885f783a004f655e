"""The Django model of what the drain could not send."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["DeadLetter"]


class DeadLetter(models.Model):
    """A mail of a queued task that the proxy does not have, kept nowhere else: retry it, or delete it."""

    #: The mail's id, which is unique to its task and its text.
    message_id = models.CharField(_("message id"), max_length=255, unique=True)
    task_id = models.CharField(_("task id"), max_length=255)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    #: Why it was not sent; without addresses.
    reason = models.TextField(_("reason"))
    #: JSON as kombu writes it. It is ASCII: no database refuses what may stand in a broken mail.
    content = models.TextField(_("content"), editable=False)
    #: The mailer that the task named, if any.
    using = models.TextField(blank=True, default="", editable=False)
    #: How many of its ids have ended. The next is a new one: an id is sent once.
    ended = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")

    def __str__(self) -> str:
        return self.message_id

    @property
    def next_id(self) -> str:
        """The id under which it is tried again."""
        return f"{self.message_id}-again-{self.ended}" if self.ended else self.message_id
