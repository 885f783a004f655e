"""`celery -A proj mailproxy …` in a Django project, as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]

PROJECT = {
    "__init__.py": "from .celery import app as celery_app\n",
    "celery.py": (
        "import os\n"
        "from celery import Celery\n"
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
        'app = Celery("shop")\n'
        'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    ),
    "settings.py": (
        "from pathlib import Path\n"
        'SECRET_KEY = "tests"\n'
        "USE_TZ = True\n"
        'INSTALLED_APPS = ["django.contrib.contenttypes", "celery_mailproxy.django"]\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db")}}\n'
        'CELERY_BROKER_URL = "memory://"\n'
    ),
}


@pytest.mark.parametrize("command", [["prune"], ["status", "nobody"]])
def test_commands_use_djangos_settings_and_store(tmp_path: Path, command: list[str]) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    for name, text in PROJECT.items():
        (package / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    for run in (["django", "migrate", "--settings", "shop.settings"], ["celery", "-A", "shop", "mailproxy", *command]):
        done = subprocess.run(
            [sys.executable, "-m", *run],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert "Traceback" not in done.stderr
    # The default store of an application without Django.
    assert not (tmp_path / "celery-mailproxy.sqlite3").exists(), done.stderr
