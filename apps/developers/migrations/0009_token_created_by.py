from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0008_stopped_developers"),
    ]

    operations = [
        migrations.AddField(
            model_name="developertoken",
            name="created_by",
            field=models.CharField(blank=True, help_text="Who issued it, as in the audit trail.", max_length=100),
        ),
    ]
