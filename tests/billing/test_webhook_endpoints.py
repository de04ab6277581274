"""`manage.py stripe_webhooks` and the system checks of Stripe."""

import re
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.billing import stripe_api
from apps.billing.services import handlers, webhook_endpoints
from tests.fakestripe import FakeStripe

BASE = "https://ai.example.com"
URL = f"{BASE}/v1/stripe/webhook"


def run(*args: str) -> str:
    out = StringIO()
    call_command("stripe_webhooks", *args, stdout=out)
    return out.getvalue()


def test_create_makes_both_and_tells_each_secret_once(fakestripe: FakeStripe) -> None:
    told = run("create", "--url", BASE + "/")
    secrets = dict(re.findall(r"^(STRIPE_\w+)=(whsec_\w+)$", told, re.MULTILINE))
    assert set(secrets) == {"STRIPE_WEBHOOK_SECRET", "STRIPE_CONNECT_WEBHOOK_SECRET"}
    made = {row["metadata"]["modelfaucet"]: row for row in fakestripe.all("webhook_endpoint")}
    assert {kind: (row["_connect"], row["url"], row["api_version"]) for kind, row in made.items()} == {
        "account": (False, URL, fakestripe.api_version),
        "connect": (True, URL, fakestripe.api_version),
    }
    assert made["account"]["enabled_events"] == sorted(handlers.HANDLERS)
    assert made["connect"]["enabled_events"] == sorted(handlers.CONNECT_HANDLERS)
    again = run("create", "--url", BASE)
    assert "whsec_" not in again
    assert again.count("is there already") == 2
    assert len(fakestripe.all("webhook_endpoint")) == 2
    assert "as they should be" in run("check", "--url", BASE)


def test_create_adds_the_types_that_are_new(fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create", "--url", BASE)
    monkeypatch.setitem(handlers.HANDLERS, "radar.early_fraud_warning.created", print)
    with pytest.raises(CommandError, match=r"does not get radar\.early_fraud_warning\.created"):
        run("check", "--url", BASE)
    assert "account: " in run("create", "--url", BASE)
    assert "as they should be" in run("check", "--url", BASE)


def test_check_names_what_is_wrong(fakestripe: FakeStripe) -> None:
    with pytest.raises(CommandError) as caught:
        run("check", "--url", BASE)
    assert str(caught.value).count("there is no endpoint") == 2
    run("create", "--url", BASE)
    ours, theirs = fakestripe.all("webhook_endpoint")
    ours["status"], ours["enabled_events"] = "disabled", ["*"]
    theirs["api_version"] = "2020-08-27"
    assert [problem.split(": ", 1)[1].split(" ", 1)[1][:12] for problem in webhook_endpoints.problems(BASE)] == [
        "is disabled",
        "does not get",
        "gets *, whic",
        "speaks 2020-",
    ]


def test_list_shows_also_those_of_others(fakestripe: FakeStripe) -> None:
    run("create", "--url", BASE)
    params: Any = {"url": "https://other.example.com/hook", "enabled_events": ["*"]}
    other = stripe_api.call(lambda api: api.v1.webhook_endpoints.create(params))
    lines = run("list").splitlines()
    assert len(lines) == 3
    assert any(line.startswith(f"{other.id}  -  enabled") for line in lines)


def test_without_an_address_or_stripe_it_says_so(fakestripe: FakeStripe, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = ""
    with pytest.raises(CommandError, match="PUBLIC_BASE_URL"):
        run("create")
    fakestripe.fail_next("error")
    with pytest.raises(CommandError, match="cannot be reached"):
        run("list")
    settings.STRIPE_ENABLED = False
    with pytest.raises(CommandError, match="switched off"):
        run("list")


@pytest.mark.parametrize(
    ("environment", "ends", "told"),
    [
        ({}, True, "STRIPE_ENABLED without STRIPE_SECRET_KEY"),
        ({"STRIPE_SECRET_KEY": "sk_test_x"}, False, "mf.W001"),
        ({"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_API_VERSION": "2020-08-27"}, True, "mf.E007"),
        ({"STRIPE_SECRET_KEY": "sk_test_x", "PROFILE": "production"}, True, "mf.E006"),
    ],
)
def test_an_installation_says_what_it_lacks(
    process_environment: dict[str, str], environment: dict[str, str], ends: bool, told: str
) -> None:
    secrets = dict.fromkeys(("SECRET_KEY", "TOKEN_PEPPER"), "x" * 50) | {"FIELD_ENCRYPTION_KEYS": "A" * 43 + "="}
    given = process_environment | secrets | {"PROFILE": "embedded", "STRIPE_ENABLED": "1"} | environment
    code = "from django.core.management import execute_from_command_line as run; run(['manage.py', 'check'])"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False, timeout=100
    )
    assert told in ran.stdout + ran.stderr
    assert (ran.returncode != 0) == ends


def test_with_stripe_on_nobody_keeps_keys_in_dj_stripes_pages(process_environment: dict[str, str]) -> None:
    code = (
        "import django; django.setup(); from django.contrib import admin;"
        "names = {model._meta.label for model in admin.site._registry};"
        "assert 'djstripe.Charge' in names, names;"
        "assert not names & {'djstripe.APIKey', 'djstripe.WebhookEndpoint'}"
    )
    given = process_environment | {"PROFILE": "embedded", "STRIPE_ENABLED": "1", "STRIPE_SECRET_KEY": "sk_test_x"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False, timeout=100
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_pinned_version_is_the_librarys(settings: Any) -> None:
    from modelfaucet import env

    assert env.VARIABLES["STRIPE_API_VERSION"].default == stripe_api.library_version()
