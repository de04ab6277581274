import django.db.models.deletion
from django.db import migrations, models

from apps.core.migration_helpers import immutable_trigger

# The manifest in force is one of the feature's own; Django's foreign key cannot say so.
OWN_MANIFEST = """
ALTER TABLE app_features ADD CONSTRAINT app_features_own_manifest
    FOREIGN KEY (id, manifest_id) REFERENCES feature_manifests (feature_id, id)
"""


class Migration(migrations.Migration):
    dependencies = [("features", "0001_apps")]

    operations = [
        migrations.CreateModel(
            name="FeatureManifest",
            fields=[
                ("id", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("number", models.IntegerField(help_text="1 is the feature's first.")),
                ("manifest", models.JSONField(help_text="As read: only what is not a default.")),
                ("source", models.TextField(help_text="As written.")),
                ("source_format", models.CharField(choices=[("yaml", "YAML"), ("json", "JSON")], max_length=8)),
                ("created_by", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField()),
                (
                    "feature",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="features.appfeature"
                    ),
                ),
            ],
            options={"db_table": "feature_manifests"},
        ),
        migrations.AddField(
            model_name="appfeature",
            name="manifest",
            field=models.ForeignKey(
                blank=True,
                help_text="The version in force; empty: every default.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="features.featuremanifest",
            ),
        ),
        migrations.AddConstraint(
            model_name="featuremanifest",
            constraint=models.UniqueConstraint(fields=("feature", "number"), name="feature_manifests_feature_number"),
        ),
        migrations.AddConstraint(
            model_name="featuremanifest",
            constraint=models.UniqueConstraint(fields=("feature", "id"), name="feature_manifests_feature_id"),
        ),
        migrations.AddConstraint(
            model_name="featuremanifest",
            constraint=models.CheckConstraint(condition=models.Q(("number__gte", 1)), name="feature_manifests_number"),
        ),
        migrations.AddConstraint(
            model_name="featuremanifest",
            constraint=models.CheckConstraint(
                condition=models.Q(("source_format__in", ["yaml", "json"])), name="feature_manifests_source_format"
            ),
        ),
        migrations.RunSQL(OWN_MANIFEST, "ALTER TABLE app_features DROP CONSTRAINT app_features_own_manifest"),
        immutable_trigger("feature_manifests"),
    ]
