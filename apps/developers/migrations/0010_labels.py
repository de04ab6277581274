"""What tables and columns are called in the admin: no table changes."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0009_token_created_by"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterModelOptions(
                    name="auditevent",
                    options={"verbose_name": "audit event", "verbose_name_plural": "audit events"},
                ),
                migrations.AlterModelOptions(
                    name="developer",
                    options={"verbose_name": "developer", "verbose_name_plural": "developers"},
                ),
                migrations.AlterModelOptions(
                    name="developertoken",
                    options={"verbose_name": "developer token", "verbose_name_plural": "developer tokens"},
                ),
                migrations.AlterModelOptions(
                    name="invitation",
                    options={"verbose_name": "invitation", "verbose_name_plural": "invitations"},
                ),
                migrations.AlterModelOptions(
                    name="member",
                    options={"verbose_name": "member", "verbose_name_plural": "members"},
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="action",
                    field=models.CharField(max_length=60, verbose_name="action"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="actor",
                    field=models.CharField(max_length=100, verbose_name="actor"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="at",
                    field=models.DateTimeField(verbose_name="at"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="detail",
                    field=models.JSONField(default=dict, verbose_name="detail"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="developer_id",
                    field=models.CharField(max_length=40, null=True, verbose_name="developer id"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="subject_id",
                    field=models.CharField(max_length=200, verbose_name="subject id"),
                ),
                migrations.AlterField(
                    model_name="auditevent",
                    name="subject_type",
                    field=models.CharField(max_length=40, verbose_name="subject type"),
                ),
                migrations.AlterField(
                    model_name="developer",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="developer",
                    name="email",
                    field=models.EmailField(max_length=254, verbose_name="email"),
                ),
                migrations.AlterField(
                    model_name="developer",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="developer",
                    name="name",
                    field=models.CharField(max_length=200, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="developer",
                    name="status",
                    field=models.CharField(
                        choices=[("active", "active"), ("stopped", "stopped by its team"), ("disabled", "disabled")],
                        default="active",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="created_by",
                    field=models.CharField(
                        blank=True,
                        help_text="Who issued it, as in the audit trail.",
                        max_length=100,
                        verbose_name="created by",
                    ),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="developer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tokens",
                        to="developers.developer",
                        verbose_name="developer",
                    ),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="expires_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="hint",
                    field=models.CharField(max_length=4, verbose_name="hint"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="last_used_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="last used at"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="name",
                    field=models.CharField(max_length=100, verbose_name="name"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="parent",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="developers.developertoken",
                        verbose_name="parent",
                    ),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="revoked_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="revoked at"),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="scopes",
                    field=django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("usage:read", "read usage"),
                                ("revenue:read", "read revenue"),
                                ("apps:read", "read apps"),
                                ("apps:write", "change apps"),
                                ("keys:read", "read keys"),
                                ("keys:write", "change keys"),
                                ("tokens:write", "issue and revoke tokens"),
                                ("provider_keys:read", "read provider keys"),
                                ("provider_keys:write", "change provider keys"),
                                ("prompts:read", "read logged prompts"),
                                ("budgets:read", "read budgets"),
                                ("budgets:write", "change budgets"),
                                ("billing:read", "read credit and top-ups"),
                                ("billing:write", "spend credit and top up"),
                                ("payouts:read", "read payouts"),
                                ("payouts:write", "ask for payouts and change where they go"),
                            ],
                            max_length=20,
                        ),
                        size=None,
                        verbose_name="scopes",
                    ),
                ),
                migrations.AlterField(
                    model_name="developertoken",
                    name="token_hash",
                    field=models.CharField(max_length=64, unique=True, verbose_name="token hash"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="accepted_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="accepted at"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="accepted_by",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="accepted by",
                    ),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="developer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invitations",
                        to="developers.developer",
                        verbose_name="developer",
                    ),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="email",
                    field=models.EmailField(
                        help_text="In small letters. Only this address may accept.",
                        max_length=254,
                        verbose_name="email",
                    ),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="expires_at",
                    field=models.DateTimeField(verbose_name="expires at"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="invited_by",
                    field=models.CharField(max_length=100, verbose_name="invited by"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="revoked_at",
                    field=models.DateTimeField(blank=True, null=True, verbose_name="revoked at"),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="role",
                    field=models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("analyst", "analyst"),
                            ("finance", "finance"),
                        ],
                        max_length=10,
                        verbose_name="role",
                    ),
                ),
                migrations.AlterField(
                    model_name="invitation",
                    name="token_hash",
                    field=models.CharField(max_length=64, unique=True, verbose_name="token hash"),
                ),
                migrations.AlterField(
                    model_name="member",
                    name="created_at",
                    field=models.DateTimeField(verbose_name="created at"),
                ),
                migrations.AlterField(
                    model_name="member",
                    name="developer",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="members",
                        to="developers.developer",
                        verbose_name="developer",
                    ),
                ),
                migrations.AlterField(
                    model_name="member",
                    name="id",
                    field=models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="id"),
                ),
                migrations.AlterField(
                    model_name="member",
                    name="role",
                    field=models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("analyst", "analyst"),
                            ("finance", "finance"),
                        ],
                        max_length=10,
                        verbose_name="role",
                    ),
                ),
                migrations.AlterField(
                    model_name="member",
                    name="user",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ]
        )
    ]
