import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.migration_helpers import epoch_trigger, immutable_trigger


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("core", "0001_policy_epoch"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=100)),
                ("developer_id", models.CharField(max_length=40, null=True)),
                ("action", models.CharField(max_length=60)),
                ("subject_type", models.CharField(max_length=40)),
                ("subject_id", models.CharField(max_length=200)),
                ("detail", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "audit_events",
                "indexes": [
                    models.Index(fields=["developer_id", "-at"], name="audit_events_by_developer"),
                    models.Index(fields=["subject_type", "subject_id", "-at"], name="audit_events_by_subject"),
                    models.Index(fields=["-at"], name="audit_events_by_time"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Developer",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("email", models.EmailField(max_length=254)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("disabled", "disabled")], default="active", max_length=10
                    ),
                ),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "developers",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["active", "disabled"])), name="developers_status"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True), name="developers_not_blank"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DeveloperToken",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("token_hash", models.CharField(max_length=64, unique=True)),
                ("hint", models.CharField(max_length=4)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("usage:read", "read usage"),
                                ("revenue:read", "read revenue"),
                                ("apps:read", "read apps"),
                                ("apps:write", "change apps"),
                                ("keys:read", "read keys"),
                                ("keys:write", "change keys"),
                                ("tokens:write", "issue and revoke tokens"),
                            ],
                            max_length=20,
                        ),
                        size=None,
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "developer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tokens", to="developers.developer"
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="developers.developertoken",
                    ),
                ),
            ],
            options={
                "db_table": "developer_tokens",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "scopes__contained_by",
                                [
                                    "usage:read",
                                    "revenue:read",
                                    "apps:read",
                                    "apps:write",
                                    "keys:read",
                                    "keys:write",
                                    "tokens:write",
                                ],
                            ),
                            ("scopes__len__gte", 1),
                        ),
                        name="developer_tokens_scopes",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("parent", None), models.Q(("parent", models.F("id")), _negated=True), _connector="OR"
                        ),
                        name="developer_tokens_not_own_child",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Member",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("analyst", "analyst"),
                            ("finance", "finance"),
                        ],
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "developer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="members", to="developers.developer"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "db_table": "members",
                "constraints": [
                    models.UniqueConstraint(fields=("developer", "user"), name="members_once"),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["owner", "admin", "analyst", "finance"])), name="members_role"
                    ),
                ],
            },
        ),
        immutable_trigger("audit_events"),
        # Tokens are looked up in the database on each use; only the developer's status is kept in snapshots.
        epoch_trigger("developers", "UPDATE OF status OR DELETE"),
    ]
