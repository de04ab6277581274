"""Accounts of people: sign-up, sign-in, second factors, and the admin that asks for one."""

import re
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from apps.vault import envelope
from apps.vault.second_factors import PLACE

pytestmark = pytest.mark.django_db
PASSWORD = "a long pass phrase 9"
EMAIL = "dev@example.com"


def sign_up(client: Client, **more: str) -> Any:
    return client.post("/accounts/signup/", {"email": EMAIL, "password1": PASSWORD, **more})


def sign_in(client: Client, login: str = EMAIL, password: str = PASSWORD) -> Any:
    return client.post("/accounts/login/", {"login": login, "password": password})


def verify(client: Client) -> None:
    """Follow the link of the last mail."""
    found = re.search(r"http://testserver(/accounts/confirm-email/\S+)", str(mail.outbox[-1].body))
    assert found
    client.post(found[1])


def with_authenticator(client: Client) -> str:
    """Sign up, add an authenticator app and return its secret."""
    sign_up(client)
    verify(client)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/2fa/totp/activate/")
    secret: str = client.session["mfa.totp.secret"]
    assert secret.encode() in page.content
    assert client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)}).status_code == 302
    return secret


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))


@pytest.fixture(autouse=True)
def new_visitor(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()  # how often mail is sent to an address is limited


def test_person_signs_up_and_in(client: Client) -> None:
    assert sign_up(client).status_code == 302
    assert client.get("/accounts/email/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/accounts/email/")["location"].startswith("/accounts/login/")
    assert sign_in(client).status_code == 302
    assert client.get("/accounts/email/").status_code == 200


def test_wrong_password_and_unknown_address_read_the_same(client: Client) -> None:
    sign_up(client)
    client.post("/accounts/logout/")
    wrong, unknown = sign_in(client, password="not it"), sign_in(client, login="who@example.com")
    assert wrong.status_code == unknown.status_code == 200
    problem = re.compile(rb'<ul class="errors" role="alert">.*?</ul>', re.S)
    assert problem.findall(wrong.content) == problem.findall(unknown.content) != []


def test_address_that_is_taken_is_not_given_away(client: Client, settings: Any) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    sign_up(client)
    client.post("/accounts/logout/")
    before = get_user_model().objects.count()
    again = sign_up(client)
    assert (again.status_code, get_user_model().objects.count()) == (302, before)


def test_sign_up_can_be_closed(client: Client, settings: Any) -> None:
    settings.SIGNUP = False
    assert sign_up(client).status_code == 200
    assert not get_user_model().objects.exists()
    assert b"closed" in client.get("/accounts/signup/").content.lower()


def test_authenticator_app_is_asked_for_and_its_secret_is_sealed(client: Client) -> None:
    secret = with_authenticator(client)
    row = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert secret not in str(row.data)
    assert envelope.open_sealed(row.data["secret"], place=PLACE) == secret
    client.post("/accounts/logout/")
    assert sign_in(client)["location"].startswith("/accounts/2fa/authenticate/")
    assert client.get("/accounts/email/")["location"].startswith("/accounts/login/")
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200


def test_secrets_of_second_factors_move_to_a_new_key(client: Client, settings: Any, capsys: Any) -> None:
    secret = with_authenticator(client)
    settings.FIELD_ENCRYPTION_KEY = [Fernet.generate_key().decode(), *settings.FIELD_ENCRYPTION_KEY]
    call_command("rotate_vault_keys")
    settings.FIELD_ENCRYPTION_KEY = settings.FIELD_ENCRYPTION_KEY[:1]
    row = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert envelope.open_sealed(row.data["secret"], place=PLACE) == secret
    assert "mfa_authenticator" in capsys.readouterr().out


def test_admin_opens_only_with_a_second_factor(client: Client, settings: Any) -> None:
    settings.ADMIN_SECOND_FACTOR = True
    assert client.get("/admin/login/?next=/admin/")["location"] == "/accounts/login/?next=%2Fadmin%2F"
    secret = with_authenticator(client)
    user = get_user_model().objects.get()
    user.is_staff = user.is_superuser = True
    user.save()
    client.force_login(user)  # with a password alone, so to say
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/accounts/2fa/"
    client.post("/accounts/logout/")
    sign_in(client)
    cache.clear()  # a code is taken once
    assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)}).status_code == 302
    assert client.get("/admin/").status_code == 200


def test_stranger_to_the_admin_is_sent_away(client: Client, settings: Any) -> None:
    settings.ADMIN_SECOND_FACTOR = True
    sign_up(client)
    assert client.get("/admin/", follow=True).status_code in (200, 403)
    assert client.get("/admin/").status_code == 302


def test_mail_without_a_server_is_kept_as_files(client: Client, settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = "django.core.mail.backends.filebased.EmailBackend", tmp_path
    sign_up(client)
    [kept] = tmp_path.iterdir()
    assert EMAIL in kept.read_text()


@pytest.mark.parametrize("page", ["login", "signup", "password/reset", "email", "2fa", "sessions", "password/change"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_carry_no_inline_code(client: Client, page: str, language: str) -> None:
    if page not in ("login", "signup", "password/reset"):
        sign_up(client)
    shown = client.get(f"/accounts/{page}/", headers={"accept-language": language}, follow=True)
    assert shown.status_code == 200
    text = shown.content.decode()
    assert not re.search(r"<script(?![^>]*(src=|application/json))", text)
    assert not re.search(r"\son\w+=|style=|javascript:", text)
    assert f'<html lang="{language}"' in text
