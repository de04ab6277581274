from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _


class VaultConfig(AppConfig):
    name = "apps.vault"
    label = "vault"
    verbose_name = _("Vault")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.vault.checks import keys_fit  # here: it reads the models, which are not loaded before

        register(keys_fit, Tags.database)
