"""What changes the vault. Every function is one transaction."""

from apps.vault.services.app_secrets import issue_app_secret, revoke_app_secret
from apps.vault.services.credentials import (
    add_credential,
    delete_credential,
    disable_credential,
    enable_credential,
    rotate_credential,
    update_credential,
)
from apps.vault.services.fees import acknowledge_fee
from apps.vault.services.keys import Rewrapped, rewrap_all
from apps.vault.services.uses import note_refusals, touch_credentials
from apps.vault.services.validation import (
    add_checked_credential,
    count_key_check,
    rotate_checked_credential,
    validate_credential,
    validate_due,
)

__all__ = [
    "Rewrapped",
    "acknowledge_fee",
    "add_checked_credential",
    "add_credential",
    "count_key_check",
    "delete_credential",
    "disable_credential",
    "enable_credential",
    "issue_app_secret",
    "note_refusals",
    "revoke_app_secret",
    "rewrap_all",
    "rotate_checked_credential",
    "rotate_credential",
    "touch_credentials",
    "update_credential",
    "validate_credential",
    "validate_due",
]
