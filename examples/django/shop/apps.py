"""The shop as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Connects the shop's handlers when Django starts: in every process, the worker among them."""

    name = "examples.django.shop"
    label = "shop"

    def ready(self) -> None:
        from . import handlers  # noqa: F401 - connects them
