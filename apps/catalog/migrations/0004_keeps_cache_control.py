from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0003_discount"),
    ]

    operations = [
        migrations.AddField(
            model_name="provider",
            name="keeps_cache_control",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="An OpenAI-compatible provider that takes cache_control on the parts of a message.",
            ),
        ),
    ]
