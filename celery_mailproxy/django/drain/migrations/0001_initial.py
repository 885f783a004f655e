"""The table of dead letters."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[Any]] = []

    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", models.CharField(max_length=255, unique=True, verbose_name="message id")),
                ("task_id", models.CharField(max_length=255, verbose_name="task id")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated")),
                ("reason", models.TextField(verbose_name="reason")),
                ("content", models.TextField(editable=False, verbose_name="content")),
                ("using", models.TextField(blank=True, default="", editable=False)),
                ("ended", models.PositiveIntegerField(default=0, editable=False)),
            ],
            options={"verbose_name": "dead letter", "verbose_name_plural": "dead letters"},
        ),
    ]
