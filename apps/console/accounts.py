"""What django-allauth asks of us about the accounts of people."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib.auth.password_validation import MinimumLengthValidator
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.console.invitations import invitation_in
from apps.core import addresses


class LengthValidator(MinimumLengthValidator):
    """Ask for long passwords, in words of our own: Django's are not in Chinese."""

    def get_error_message(self) -> str:
        return _("This is too short: at least %(least)s characters.") % {"least": self.min_length}


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up as the operator wants it, and addresses as the trusted proxies saw them."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP) or invitation_in(request) is not None

    def clean_email(self, email: str) -> str:
        """Take only the invited address where sign-up is closed to others. Raises ValidationError."""
        email = super().clean_email(email)
        signs_up = self.request.resolver_match is not None and self.request.resolver_match.url_name == "account_signup"
        if signs_up and not settings.SIGNUP:
            found = invitation_in(self.request)
            if found is None or email.lower() != found.email:
                raise ValidationError(_("The invitation is for another address."))
        return email

    def get_client_ip(self, request: HttpRequest) -> str:
        return addresses.client_address(request)

    def format_email_subject(self, subject: str) -> str:
        return f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send in the language of the page that caused it, with the address under which clients reach us."""
        super().send_mail(template_prefix, email, {"current_site_name": "ModelFaucet", **context})
