"""`EmailLogRelation`: what a mail of the log is about."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField
from .models import EmailLog
from .row_texts import inexact

__all__ = ["EmailLogRelation"]

_LENGTH = 255


class EmailLogRelation(models.Model):
    """A mail is about an object; see `EmailLog.objects.for_object`. It outlives the object."""

    log = models.ForeignKey(EmailLog, on_delete=models.CASCADE, related_name="relations")
    # Without a constraint: the log may be in a database of its own.
    content_type = models.ForeignKey(
        ContentType, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    object_id = ExactCharField(max_length=_LENGTH)
    content_object = GenericForeignKey("content_type", "object_id")

    class Meta:
        verbose_name = _("related object")
        verbose_name_plural = _("related objects")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["content_type", "object_id", "log"], name="mailproxy_relation_once")
        ]

    def __str__(self) -> str:
        return f"{self.content_type_id}:{self.object_id}"

    # `content_type` and `content_object` read in the log's own database, which need not have the others' tables.

    def find_type(self) -> ContentType | None:
        """What the object is; None where its model is not installed any more."""
        try:
            return ContentType.objects.get_for_id(self.content_type_id)
        except ContentType.DoesNotExist:
            return None

    def find_object(self) -> models.Model | None:
        """The object, wherever `DATABASE_ROUTERS` has it; None where it is gone."""
        content_type = self.find_type()
        model = content_type.model_class() if content_type else None
        if model is None:
            return None
        try:
            found: models.Model | None = model._base_manager.filter(pk=inexact(self.object_id)).first()
        except (ValueError, ValidationError):
            # An id of another kind: the model's key has changed.
            return None
        return found
