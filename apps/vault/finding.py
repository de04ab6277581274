"""Where ids of this room's rows stand, for operators who look for one."""

from apps.core.finding import Place
from apps.vault.models import AppSecret, ProviderCredential

PLACES = (
    Place(ProviderCredential, prefixes=("cred_",)),
    Place(AppSecret, prefixes=("sec_",)),
)
