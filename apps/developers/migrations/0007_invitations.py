import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Lower

ROLES = [("owner", "owner"), ("admin", "admin"), ("analyst", "analyst"), ("finance", "finance")]


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0006_payout_scopes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "email",
                    models.EmailField(help_text="In small letters. Only this address may accept.", max_length=254),
                ),
                ("role", models.CharField(choices=ROLES, max_length=10)),
                ("token_hash", models.CharField(max_length=64, unique=True)),
                ("invited_by", models.CharField(max_length=100)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "accepted_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "developer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invitations",
                        to="developers.developer",
                    ),
                ),
            ],
            options={
                "db_table": "invitations",
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(("role__in", [role for role, _ in ROLES])), name="invitations_role"
                    ),
                    models.CheckConstraint(
                        condition=Q(("email", Lower("email")), Q(("email", ""), _negated=True)),
                        name="invitations_email",
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            Q(("accepted_at", None), ("accepted_by", None)),
                            Q(
                                Q(("accepted_at", None), _negated=True),
                                Q(("accepted_by", None), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="invitations_accepted",
                    ),
                    models.CheckConstraint(
                        condition=Q(("accepted_at", None), ("revoked_at", None), _connector="OR"),
                        name="invitations_one_end",
                    ),
                    models.UniqueConstraint(
                        condition=Q(("accepted_at", None), ("revoked_at", None)),
                        fields=("developer", "email"),
                        name="invitations_one_open",
                    ),
                ],
            },
        ),
    ]
