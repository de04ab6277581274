"""Commands for channels, secrets and alerts."""

import asyncio
import json
import time
from typing import Any

import click
import httpx
import tomlkit

from modelfaucet_bridge.alerts import Alert, deliver
from modelfaucet_bridge.commands.common import keychain, read_secret, said_plainly, settings, settings_path
from modelfaucet_bridge.config import ANY_MODEL, KINDS, LOCAL_KINDS, WELL_KNOWN, destinations_of
from modelfaucet_bridge.edits import edit, put, table
from modelfaucet_bridge.home import home
from modelfaucet_bridge.keychain import GATEWAY_TOKEN, LOCAL_TOKEN, SecretError
from modelfaucet_bridge.ledger import Ledger, month_of
from modelfaucet_bridge.money import usd
from modelfaucet_bridge.reports import PREFIX
from modelfaucet_bridge.webhooks import DeliveryError

SECRET_VARIABLES = ("MODELFAUCET_SECRET", "AKCP_SECRET")


@click.group()
def channels() -> None:
    """Places that answer calls: model servers, and providers with your own key."""


@channels.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_channels(as_json: bool) -> None:
    """List the channels of the settings with what this month has cost. Discovered ones are in `status`."""
    config = settings()
    ledger = Ledger(home() / "ledger", max_bytes=config.ledger_bytes, keep_months=config.ledger_months, now=time.time())
    rows: list[dict[str, Any]] = []
    for channel in config.channels:
        month = ledger.month(channel.name, time.time())
        rows.append(
            {
                "name": channel.name,
                "kind": channel.kind,
                "base_url": channel.base_url,
                "secret_ref": channel.secret_ref or None,
                "enabled": channel.enabled,
                "shared": channel.shared,
                "month": month_of(time.time()),
                "spent_nano_usd": month.spent,
                "budget_nano_usd": channel.budget,
                "calls": month.calls,
                "calls_of_unknown_price": month.unknown,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "on " if row["enabled"] else "off"
        budget = f" of {usd(row['budget_nano_usd'])}" if row["budget_nano_usd"] is not None else ""
        unknown = f", {row['calls_of_unknown_price']} of unknown price" if row["calls_of_unknown_price"] else ""
        key = row["secret_ref"] or "no key"
        click.echo(f"{state} {row['name']:16} {row['kind']:18} {row['base_url']}  {key}")
        click.echo(f"    {usd(row['spent_nano_usd'])}{budget} in {row['month']}, {row['calls']} calls{unknown}")
    if not rows:
        click.echo(
            "No channel is in the settings. Model servers on this machine are found by themselves: see `status`."
        )


def _limits(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--budget", metavar="USD", help="Most that a month should cost; `none` removes it."),
            click.option("--hard-stop/--no-hard-stop", default=None, help="Refuse calls once the budget is used up."),
            click.option("--rpm", type=int, help="Requests per minute; 0 removes the limit."),
            click.option("--tpm", type=int, help="Tokens per minute; 0 removes the limit."),
            click.option("--model", "models", multiple=True, help="Offer this model only (repeat for more)."),
            click.option("--share/--no-share", default=None, help="Let paired pages and your gateway use it."),
        )
    ):
        command = option(command)
    return command


def _put_limits(channel: Any, given: dict[str, Any]) -> None:
    put(channel, {"hard_stop": given["hard_stop"], "share": given["share"]})
    for option, name, nothing in (("budget", "monthly_budget_usd", "none"), ("rpm", "rpm", 0), ("tpm", "tpm", 0)):
        if given[option] == nothing:
            channel.pop(name, None)
        else:
            put(channel, {name: given[option]})
    put(channel, {"models": list(given["models"]) or None})


@channels.command("add")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), help="What answers there.  [default: by NAME, else openai_compatible]"
)
@click.option("--base-url", help="Its address, up to and with /v1.")
@click.option("--secret-ref", help="Where its key is: keychain:NAME, env:NAME or file:PATH.")
@_limits
def add_channel(name: str, kind: str | None, base_url: str | None, secret_ref: str | None, **given: Any) -> None:
    """Add the channel NAME, or change its address and key."""
    kind = kind or (name if name in LOCAL_KINDS else "openai_compatible")
    base_url = base_url or WELL_KNOWN.get(kind)
    if not base_url:
        raise click.UsageError("say where it is: --base-url")

    def change(document: tomlkit.TOMLDocument) -> None:
        channel = table(document, "channels", name)
        put(channel, {"kind": kind, "base_url": base_url, "secret_ref": secret_ref})
        _put_limits(channel, given)

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"{name} is a channel.")
    if secret_ref and secret_ref.startswith("keychain:") and not _has_secret(secret_ref):
        click.echo(f"Its key is missing: modelfaucet-bridge keychain set {secret_ref.partition(':')[2]}")


def _has_secret(reference: str) -> bool:
    return reference.partition(":")[2] in keychain().names()


@channels.command("set")
@click.argument("name")
@_limits
def set_channel(name: str, **given: Any) -> None:
    """Change the budget and the limits of the channel NAME."""
    with said_plainly():
        edit(settings_path(), lambda document: _put_limits(_existing(document, name), given))
    click.echo(f"{name} is changed.")


@channels.command("price")
@click.argument("name")
@click.argument("model")
@click.option("--input", "input_", required=True, metavar="USD", help="Per million tokens of input.")
@click.option("--output", required=True, metavar="USD", help="Per million tokens of output.")
@click.option("--cache-read", metavar="USD", help="Per million tokens of input read from the provider's cache.")
def set_price(name: str, model: str, input_: str, output: str, cache_read: str | None) -> None:
    """Set what MODEL costs at the channel NAME; MODEL `*` is for every other model."""
    values = {"input_usd_per_mtok": input_, "output_usd_per_mtok": output, "cache_read_usd_per_mtok": cache_read}

    def change(document: tomlkit.TOMLDocument) -> None:
        _existing(document, name)
        put(table(document, "channels", name, "prices", model), values)

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"The price of {'other models' if model == ANY_MODEL else model} at {name} is set.")


@channels.command("enable")
@click.argument("name")
def enable_channel(name: str) -> None:
    """Let the channel NAME answer calls again."""
    _switch(name, True)


@channels.command("disable")
@click.argument("name")
def disable_channel(name: str) -> None:
    """Keep the channel NAME, and make no calls to it. A discovered one is looked for no more."""
    _switch(name, False)


def _switch(name: str, enabled: bool) -> None:
    def change(document: tomlkit.TOMLDocument) -> None:
        if name in LOCAL_KINDS and name not in document.get("channels", {}):
            endpoints = table(document, "discovery", "endpoints")
            endpoints[name] = WELL_KNOWN[name] if enabled else False
        else:
            _existing(document, name)["enabled"] = enabled

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"{name} is {'enabled' if enabled else 'disabled'}.")


@channels.command("remove")
@click.argument("name")
def remove_channel(name: str) -> None:
    """Remove the channel NAME from the settings. Its calls stay in the ledger, its key in the keychain."""

    def change(document: tomlkit.TOMLDocument) -> None:
        _existing(document, name)
        del document["channels"][name]

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"{name} is removed.")


def _existing(document: tomlkit.TOMLDocument, name: str) -> Any:
    known = document.get("channels", {})
    if name not in known:
        raise click.ClickException(f"there is no channel {name} in the settings")
    return known[name]


@click.group("keychain")
def keychain_group() -> None:
    """Keys of providers and webhooks, kept by the operating system."""


@keychain_group.command("set")
@click.argument("name")
def set_secret(name: str) -> None:
    """Keep the secret NAME, read from MODELFAUCET_SECRET, a pipe or a prompt."""
    kept = keychain()
    with said_plainly():
        kept.keep(name, read_secret(f"Secret {name}", SECRET_VARIABLES))
    if kept.uses_file:
        click.echo(f"Warning: this machine has no keychain. {name} is in {kept.where}", err=True)
    click.echo(f"{name} is kept. Refer to it as keychain:{name}")


@keychain_group.command("delete")
@click.argument("name")
def delete_secret(name: str) -> None:
    """Forget the secret NAME."""
    with said_plainly():
        if not keychain().delete(name):
            raise click.ClickException(f"there is no secret {name}")
    click.echo(f"{name} is deleted.")


@keychain_group.command("list")
def list_secrets() -> None:
    """List the names of the secrets; never their values."""
    kept = keychain()
    for name in kept.names():
        if not name.startswith(PREFIX):
            own = {LOCAL_TOKEN: "  (this bridge's token)", GATEWAY_TOKEN: "  (the gateway's token)"}
            click.echo(f"{name}{own.get(name, '')}")
    click.echo(f"In {kept.where}", err=True)


@click.group()
def alerts() -> None:
    """Where to send word when a budget runs out."""


@alerts.command("add")
@click.argument("name")
@click.option("--kind", type=click.Choice(["feishu", "webhook"]), default="webhook", show_default=True)
@click.option("--url", help="Address of a webhook.")
@click.option("--url-ref", help="Where the address is, if it is a secret as a Feishu bot's: keychain:NAME or env:NAME.")
@click.option("--secret-ref", help="Where the secret for signatures is.")
def add_alert(name: str, kind: str, url: str | None, url_ref: str | None, secret_ref: str | None) -> None:
    """Send alerts to NAME too."""

    def change(document: tomlkit.TOMLDocument) -> None:
        destination = table(document, "alerts", name)
        put(destination, {"kind": kind, "url": url, "url_ref": url_ref, "secret_ref": secret_ref})

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"Alerts go to {name} too. Try: modelfaucet-bridge alerts test")


@alerts.command("remove")
@click.argument("name")
def remove_alert(name: str) -> None:
    """Send no more alerts to NAME."""

    def change(document: tomlkit.TOMLDocument) -> None:
        if name not in document.get("alerts", {}):
            raise click.ClickException(f"alerts do not go to {name}")
        del document["alerts"][name]

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"No alert goes to {name} any more.")


@alerts.command("list")
def list_alerts() -> None:
    """List where alerts go."""
    for destination in destinations_of(settings()):
        signed = "signed" if destination.secret_ref else "not signed"
        click.echo(f"{destination.name:16} {destination.kind:8} {destination.url_ref or destination.url}  {signed}")


@alerts.command("test")
@click.argument("name", required=False)
def test_alert(name: str | None = None) -> None:
    """Send a test alert to every destination, or to NAME, and say what came of it."""
    kept = keychain()
    chosen = [each for each in destinations_of(settings()) if name in (None, each.name)]
    if not chosen:
        raise click.ClickException("there is nowhere to send an alert: `alerts add`, or set FEISHU_WEBHOOK_URL")

    async def send() -> int:
        failures = 0
        async with httpx.AsyncClient() as client:
            for destination in chosen:
                at = time.time()
                try:
                    await deliver(client, kept, destination, Alert(f"test:{at:.6f}", "test", at), now=at)
                except (DeliveryError, SecretError) as error:
                    failures += 1
                    click.echo(f"{destination.name}: failed: {error}")
                else:
                    click.echo(f"{destination.name}: delivered")
        return failures

    if asyncio.run(send()):
        raise click.exceptions.Exit(1)
