from django.apps import AppConfig


class ModelFaucetConfig(AppConfig):
    name = "modelfaucet"

    def ready(self) -> None:
        from modelfaucet import checks  # noqa: F401  (registers the system checks)
