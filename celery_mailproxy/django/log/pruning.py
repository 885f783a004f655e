"""Deleting old mails in batches, so that others get their turn in between."""

from __future__ import annotations

from functools import partial

from django.db import connections, transaction
from django.db.models import Model, QuerySet

from . import content
from .database import writing

__all__ = ["PRUNED_AT_ONCE", "prune_batch"]

#: How many rows one transaction deletes.
PRUNED_AT_ONCE = 500


def prune_batch(rows: QuerySet[Model], *, limit: int = PRUNED_AT_ONCE) -> int:
    """Delete up to `limit` of these rows in their order, with their events and kept contents; the number deleted.

    `rows` are of `EmailLog`. Those that somebody is writing to are left to the next time. Raises Django's database
    errors.
    """
    alias = rows.db
    skips_locked = connections[alias].features.has_select_for_update_skip_locked
    with writing(rows.model, alias):
        chosen = rows.select_for_update(skip_locked=skips_locked).values_list("pk", "content_name")[:limit]
        names = dict(chosen)
        if not names:
            return 0
        # Only the keys: contents are large.
        rows.model._base_manager.using(alias).filter(pk__in=list(names)).only("pk").delete()
        if kept := [name for name in names.values() if name]:
            transaction.on_commit(partial(content.discard, kept), using=alias)
    return len(names)
