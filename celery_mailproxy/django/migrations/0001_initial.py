"""The tables of the mail log."""

from __future__ import annotations

from typing import Any, ClassVar

import django.db.models.deletion
from django.db import migrations, models

from celery_mailproxy.django.log import fields


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[Any]] = [("contenttypes", "0002_remove_content_type_name")]

    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="OperatorValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", fields.ExactCharField(max_length=255, unique=True)),
                ("value", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="EmailLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", fields.ExactCharField(max_length=255, unique=True, verbose_name="message id")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("new", "new"),
                            ("queued", "queued"),
                            ("deferred", "deferred"),
                            ("sent", "sent"),
                            ("error", "error"),
                            ("bounced", "bounced"),
                            ("rejected", "rejected"),
                            ("cancelled", "cancelled"),
                            ("expired", "expired"),
                            ("suppressed", "suppressed"),
                        ],
                        default="new",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("is_known", models.BooleanField(default=False, verbose_name="registered")),
                ("created_at", fields.MomentField(verbose_name="created")),
                ("registered_at", fields.MomentField(blank=True, null=True, verbose_name="registered at")),
                ("updated_at", fields.MomentField(verbose_name="last changed")),
                ("queued_at", fields.MomentField(blank=True, null=True, verbose_name="queued")),
                ("sent_at", fields.MomentField(blank=True, null=True, verbose_name="sent")),
                ("ended_at", fields.MomentField(blank=True, null=True, verbose_name="ended")),
                ("sender", fields.ShownTextField(blank=True, default="", verbose_name="sender")),
                ("return_path", fields.ShownTextField(blank=True, null=True, verbose_name="envelope sender")),
                ("recipients", fields.ShownTextField(blank=True, default="", verbose_name="recipients")),
                (
                    "recipient_count",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="number of recipients"),
                ),
                ("subject", fields.ShownTextField(blank=True, default="", verbose_name="subject")),
                ("error_message", fields.ShownTextField(blank=True, default="", verbose_name="error message")),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        choices=[(0, "immediate"), (1, "high"), (2, "medium"), (3, "low")],
                        null=True,
                        verbose_name="priority",
                    ),
                ),
                ("tenant_id", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="tenant")),
                ("account_id", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="account")),
                ("server", fields.ExactCharField(blank=True, default="default", max_length=255, verbose_name="server")),
                ("batch_code", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="batch")),
                ("task_id", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="Celery task")),
                ("metadata", models.TextField(blank=True, default="", verbose_name="metadata")),
                ("tags", models.TextField(blank=True, default="", verbose_name="tags")),
                ("not_after", fields.MomentField(blank=True, null=True, verbose_name="not sent after")),
                ("parent_id", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="parent")),
                ("members", models.TextField(blank=True, default="", editable=False, verbose_name="members")),
                ("callbacks", models.TextField(blank=True, default="", editable=False, verbose_name="callbacks")),
                (
                    "suspension",
                    models.TextField(blank=True, default="", editable=False, verbose_name="suspended result"),
                ),
                ("silent_since", fields.MomentField(blank=True, editable=False, null=True)),
                ("due_at", fields.MomentField(blank=True, editable=False, null=True)),
                ("expires_at", fields.MomentField(verbose_name="expires")),
                ("has_failed", models.BooleanField(default=False, verbose_name="has failed handlers")),
                ("content", models.BinaryField(blank=True, null=True, verbose_name="content")),
                ("content_name", models.CharField(blank=True, default="", editable=False, max_length=255)),
                ("details", models.TextField(blank=True, default="", editable=False)),
                (
                    "resent_from",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="resends",
                        to="celery_mailproxy.emaillog",
                        verbose_name="resent from",
                    ),
                ),
            ],
            options={"verbose_name": "e-mail", "verbose_name_plural": "e-mails"},
        ),
        migrations.CreateModel(
            name="EmailLogEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("key", fields.ExactCharField(max_length=255)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("rejected", "rejected"),
                            ("sent", "sent"),
                            ("error", "error"),
                            ("deferred", "deferred"),
                            ("bounced", "bounced"),
                            ("complained", "complained"),
                            ("cancelled", "cancelled"),
                            ("expired", "expired"),
                            ("suppressed", "suppressed"),
                            ("overdue", "overdue"),
                            ("pec", "certified mail"),
                        ],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                ("at", fields.MomentField(verbose_name="time")),
                ("reason", fields.ShownTextField(blank=True, default="", verbose_name="reason")),
                ("code", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="code")),
                (
                    "bounce_type",
                    fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="type of bounce"),
                ),
                (
                    "pec_event",
                    fields.ExactCharField(
                        blank=True, default="", max_length=255, verbose_name="event of certified mail"
                    ),
                ),
                ("recipient", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="recipient")),
                ("event_id", fields.ExactCharField(blank=True, default="", editable=False, max_length=255)),
                ("via", fields.ExactCharField(blank=True, default="proxy", max_length=255, verbose_name="via")),
                ("tenant_id", fields.ExactCharField(blank=True, default="", max_length=255, verbose_name="tenant")),
                ("raw", models.TextField(blank=True, default="", verbose_name="raw report")),
                ("claim", fields.ExactCharField(blank=True, max_length=255, null=True, verbose_name="claimed by")),
                ("claimed_at", fields.MomentField(blank=True, null=True, verbose_name="claimed")),
                ("is_dispatched", models.BooleanField(default=False, verbose_name="dispatched")),
                ("failed", models.TextField(blank=True, default="", verbose_name="failed handlers")),
                ("details", models.TextField(blank=True, default="", editable=False)),
                (
                    "log",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="celery_mailproxy.emaillog",
                    ),
                ),
            ],
            options={"verbose_name": "event", "verbose_name_plural": "events", "ordering": ["position"]},
        ),
        migrations.CreateModel(
            name="EmailLogTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tag", fields.ExactCharField(max_length=255, verbose_name="tag")),
                (
                    "log",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tag_rows",
                        to="celery_mailproxy.emaillog",
                    ),
                ),
            ],
            options={"verbose_name": "tag", "verbose_name_plural": "tags"},
        ),
        migrations.CreateModel(
            name="EmailLogRelation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("object_id", fields.ExactCharField(max_length=255)),
                (
                    "content_type",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="contenttypes.contenttype",
                    ),
                ),
                (
                    "log",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="relations",
                        to="celery_mailproxy.emaillog",
                    ),
                ),
            ],
            options={"verbose_name": "related object", "verbose_name_plural": "related objects"},
        ),
        migrations.CreateModel(
            name="MailCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("span", models.BigIntegerField()),
                ("name", fields.ExactCharField(max_length=100)),
                ("number", models.BigIntegerField()),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("span", "name"), name="mailproxy_count_once")]},
        ),
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("task_id", fields.ExactCharField(max_length=255, unique=True)),
                ("content", models.TextField()),
                ("due_at", fields.MomentField(db_index=True)),
                ("copies", models.PositiveIntegerField(default=0)),
                ("begun", models.PositiveIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="SuppressedEmail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", fields.ExactCharField(max_length=255, verbose_name="address")),
                (
                    "cause",
                    models.CharField(
                        choices=[("bounced", "bounced"), ("complained", "complained"), ("added", "added")],
                        default="added",
                        editable=False,
                        max_length=10,
                        verbose_name="cause",
                    ),
                ),
                ("at", fields.MomentField(editable=False, verbose_name="time")),
                (
                    "message_id",
                    fields.ExactCharField(
                        blank=True, default="", editable=False, max_length=255, verbose_name="message id"
                    ),
                ),
            ],
            options={
                "verbose_name": "suppressed address",
                "verbose_name_plural": "suppressed addresses",
                "constraints": [models.UniqueConstraint(fields=("address", "cause"), name="mailproxy_suppressed_once")],
            },
        ),
        migrations.AddIndex(
            model_name="emaillog", index=models.Index(fields=["created_at", "id"], name="mailproxy_created")
        ),
        migrations.AddIndex(
            model_name="emaillog", index=models.Index(fields=["status", "created_at", "id"], name="mailproxy_status")
        ),
        migrations.AddIndex(
            model_name="emaillog", index=models.Index(fields=["tenant_id", "created_at", "id"], name="mailproxy_tenant")
        ),
        migrations.AddIndex(
            model_name="emaillog",
            index=models.Index(fields=["account_id", "created_at", "id"], name="mailproxy_account"),
        ),
        migrations.AddIndex(model_name="emaillog", index=models.Index(fields=["updated_at"], name="mailproxy_updated")),
        migrations.AddIndex(model_name="emaillog", index=models.Index(fields=["expires_at"], name="mailproxy_expires")),
        migrations.AddIndex(
            model_name="emaillog",
            index=models.Index(fields=["has_failed", "created_at", "id"], name="mailproxy_failed"),
        ),
        migrations.AddIndex(
            model_name="emaillog", index=models.Index(fields=["silent_since"], name="mailproxy_silent")
        ),
        migrations.AddIndex(model_name="emaillog", index=models.Index(fields=["due_at"], name="mailproxy_due")),
        migrations.AddIndex(
            model_name="emaillogevent", index=models.Index(fields=["claimed_at"], name="mailproxy_claimed")
        ),
        migrations.AddConstraint(
            model_name="emaillogevent",
            constraint=models.UniqueConstraint(fields=("log", "key"), name="mailproxy_event_once"),
        ),
        migrations.AddConstraint(
            model_name="emaillogtag",
            constraint=models.UniqueConstraint(fields=("tag", "log"), name="mailproxy_tag_once"),
        ),
        migrations.AddConstraint(
            model_name="emaillogrelation",
            constraint=models.UniqueConstraint(
                fields=("content_type", "object_id", "log"), name="mailproxy_relation_once"
            ),
        ),
    ]
