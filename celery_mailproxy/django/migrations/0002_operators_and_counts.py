"""Values that operators set, and counters: what the store keeps beside deliveries."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

import celery_mailproxy.django.log.fields


class Migration(migrations.Migration):
    dependencies: ClassVar = [("celery_mailproxy", "0001_initial")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="OperatorValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", celery_mailproxy.django.log.fields.ExactCharField(max_length=255, unique=True)),
                ("value", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="MailCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("span", models.BigIntegerField()),
                ("name", celery_mailproxy.django.log.fields.ExactCharField(max_length=100)),
                ("number", models.BigIntegerField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("span", "name"), name="mailproxy_count_once")],
            },
        ),
    ]
