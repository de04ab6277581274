from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0007_invitations"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="developer", name="developers_status"),
        migrations.AlterField(
            model_name="developer",
            name="status",
            field=models.CharField(
                choices=[("active", "active"), ("stopped", "stopped by its team"), ("disabled", "disabled")],
                default="active",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="developer",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "stopped", "disabled"])), name="developers_status"
            ),
        ),
    ]
