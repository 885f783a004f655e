"""What mypy reads for Django: the tests' project with the example's shop besides, so that its models are known, too."""

from __future__ import annotations

from tests.django.settings import *  # noqa: F403
from tests.django.settings import INSTALLED_APPS as _TESTED_APPS

INSTALLED_APPS = [*_TESTED_APPS, "examples.django.shop"]
