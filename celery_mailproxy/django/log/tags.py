"""The rows of `EmailLogTag`, by which mails are found that have a tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .models import EmailLogTag
from .row_texts import exact

__all__ = ["write_tags"]


def write_tags(tagged: Iterable[tuple[int, Sequence[str]]], *, alias: str) -> None:
    """Let these mails have these tags and no others: pairs of a row's key and the tags. Raises Django's errors."""
    pairs = list(tagged)
    if not pairs:
        return
    rows = EmailLogTag.objects.using(alias)
    rows.filter(log_id__in=[log_id for log_id, _ in pairs]).delete()
    # Not to fail on a row that another begins at the same moment.
    rows.bulk_create(
        [EmailLogTag(log_id=log_id, tag=tag) for log_id, tags in pairs for tag in dict.fromkeys(map(exact, tags))],
        ignore_conflicts=True,
    )
