"""A command run for an application that migrates."""

from __future__ import annotations

from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celery_mailproxy.cli import mailproxy
from tests.unit.migration.migrated_app import Migrated


def run(one: Migrated, *args: str) -> Result:
    context = CLIContext(app=one.app, no_color=True, workdir=None)
    return CliRunner().invoke(mailproxy, list(args), obj=context)
