"""Rows of the vault, made the way the doors make them."""

from typing import Any

from apps.catalog import queries as catalog
from apps.catalog.services.offers import add_provider
from apps.vault import queries, services
from apps.vault.models import OwnerClass, ProviderCredential
from tests.features.factories import ACTOR, NOW

SECRET = "sk-live-0123456789abcdef-WXYZ"


def make_provider(id: str = "openai", **fields: Any) -> str:
    if catalog.provider(id) is None:
        add_provider(
            id=id,
            name=id.title(),
            **{
                "base_url": "https://api.example.com/v1",
                "resale_allowed": True,
                "trains_on_data": False,
                **fields,
            },
            now=NOW,
            actor=ACTOR,
        )
    return id


def make_credential(**fields: Any) -> ProviderCredential:
    defaults: dict[str, Any] = {"owner_class": "platform", "label": "Main", "secret": SECRET}
    fields = {"provider": make_provider(), **defaults, **fields}
    return ProviderCredential.objects.get(pk=services.add_credential(**fields, now=NOW, actor=ACTOR))


def load_credentials() -> tuple[queries.Credential, ...]:
    """Return every credential that serves: the shared ones, then the developers', then the end users'."""
    owned = ProviderCredential.objects.exclude(owner_id="").values_list("owner_class", "owner_id").distinct()
    loaded = [*queries.load_shared_credentials()]
    for owner_class, owner in sorted(owned):
        of_developer = owner_class == OwnerClass.DEVELOPER
        loaded += queries.credentials_of(
            developer_id=owner if of_developer else None, end_user_id=None if of_developer else owner
        )
    return tuple(loaded)
