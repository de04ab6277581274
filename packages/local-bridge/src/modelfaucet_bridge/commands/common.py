"""What the commands share: the directory, the settings, a running bridge, and how a report looks."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

from modelfaucet_bridge.checks import FAIL, Finding, base_url
from modelfaucet_bridge.config import Config, ConfigError, load
from modelfaucet_bridge.home import CONFIG_FILE, home
from modelfaucet_bridge.keychain import Keychain, SecretError, local_token

NOT_RUNNING = 3


def settings_path() -> Path:
    return home() / CONFIG_FILE


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what is wrong with the settings or a secret into a message."""
    try:
        yield
    except (ConfigError, SecretError) as error:
        raise click.ClickException(str(error)) from None


def settings() -> Config:
    with said_plainly():
        return load(settings_path())


def keychain() -> Keychain:
    return Keychain(home(), settings().secrets_backend)


def ask_running(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the running bridge as its owner. Ends the command if there is none or it refuses."""
    config = settings()
    with said_plainly():
        token = local_token(Keychain(home(), config.secrets_backend))
    try:
        with httpx.Client(trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {token}"}
            answer = client.request(method, base_url(config) + path, json=body, headers=headers)
            content = answer.json()
    except (httpx.HTTPError, ValueError):
        click.echo("The bridge is not running: modelfaucet-bridge start", err=True)
        sys.exit(NOT_RUNNING)
    if not answer.is_success:
        raise click.ClickException(content.get("error", {}).get("message", f"the bridge answered {answer.status_code}"))
    found: dict[str, Any] = content
    return found


def report(findings: Iterable[Finding]) -> None:
    """Print findings; end the command with 1 if one is a failure."""
    failed = False
    for finding in findings:
        colour = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.state]
        click.echo(f"{click.style(f'{finding.state:4}', fg=colour)}  {finding.subject:9} {finding.text}")
        failed = failed or finding.state == FAIL
    if failed:
        sys.exit(1)


def read_secret(prompt: str, variables: tuple[str, ...]) -> str:
    """Return a secret from the environment, a pipe or a prompt: an argument would stay in the shell's history."""
    for variable in variables:
        if os.environ.get(variable):
            return os.environ[variable]
    value = sys.stdin.readline() if not sys.stdin.isatty() else click.prompt(prompt, hide_input=True)
    if not value.strip():
        raise click.ClickException("the secret is empty")
    return str(value).strip()
