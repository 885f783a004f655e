"""`SuppressedEmail`: an address that is to get no more mail, as a row."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ...deliveries import suppression
from .fields import ExactCharField, MomentField

__all__ = ["SuppressedEmail"]

_LENGTH = 255


class SuppressedEmail(models.Model):
    """An address and why it is on the suppression list; see `deliveries.suppression`."""

    class Cause(models.TextChoices):
        """See `suppression.Cause`."""

        BOUNCED = suppression.Cause.BOUNCED.value, pgettext_lazy("cause of suppression", "bounced")
        COMPLAINED = suppression.Cause.COMPLAINED.value, pgettext_lazy("cause of suppression", "complained")
        ADDED = suppression.Cause.ADDED.value, pgettext_lazy("cause of suppression", "added")

    #: As `mail.addresses.address_key` gives it.
    address = ExactCharField(_("address"), max_length=_LENGTH)
    cause = models.CharField(_("cause"), max_length=10, choices=Cause.choices, default=Cause.ADDED, editable=False)
    at = MomentField(_("time"), editable=False)
    #: As `row_texts.exact` writes it.
    message_id = ExactCharField(_("message id"), max_length=_LENGTH, blank=True, default="", editable=False)

    objects: ClassVar[models.Manager[SuppressedEmail]] = models.Manager()

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["address", "cause"], name="mailproxy_suppressed_once")
        ]

    def __str__(self) -> str:
        return self.address
