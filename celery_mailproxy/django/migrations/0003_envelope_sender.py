"""The envelope's sender, for sending a mail again; and mails with failed handlers in the order of the admin's list."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

import celery_mailproxy.django.log.fields


class Migration(migrations.Migration):
    dependencies: ClassVar = [("celery_mailproxy", "0002_operators_and_counts")]

    operations: ClassVar = [
        # Without a default: a column that is null is added to a large table at once.
        migrations.AddField(
            model_name="emaillog",
            name="return_path",
            field=celery_mailproxy.django.log.fields.ShownTextField(
                blank=True, null=True, verbose_name="envelope sender"
            ),
        ),
        migrations.RemoveIndex(model_name="emaillog", name="mailproxy_failed"),
        migrations.AddIndex(
            model_name="emaillog",
            index=models.Index(fields=["has_failed", "created_at", "id"], name="mailproxy_failed"),
        ),
    ]
