"""Where a project has put our views: the paths that the proxy must call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from .. import views

__all__ = ["attachments_path", "sync_path"]


def sync_path() -> str | None:
    """The path of delivery reports, or None where `celery_mailproxy.django.urls` is not included."""
    return _path_of(views.sync)


def attachments_path() -> str | None:
    """The path of attachments, or None where `celery_mailproxy.django.urls` is not included."""
    return _path_of(views.attachments)


def _path_of(view: Callable[..., Any]) -> str | None:
    # By the view and not by a name: another namespace may be around ours, or have been given to it.
    if not getattr(settings, "ROOT_URLCONF", None):
        return None
    for name in _names(get_resolver().url_patterns, view, ()):
        try:
            return reverse(name)
        except NoReverseMatch:
            # Below a prefix with parameters: no single path.
            continue
    return None


def _names(
    patterns: Sequence[URLPattern | URLResolver], view: Callable[..., Any], namespaces: tuple[str, ...]
) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _names(pattern.url_patterns, view, inner)
        elif pattern.callback is view and pattern.name:
            yield ":".join((*namespaces, pattern.name))
