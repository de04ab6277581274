"""Commands for the bridge itself: init, start, status, doctor, security, pairing, the gateway."""

import asyncio
import json
import webbrowser

import click
import tomlkit
from filelock import FileLock, Timeout

from modelfaucet_bridge.access import Origins, new_token
from modelfaucet_bridge.checks import base_url, doctor, is_loopback, security
from modelfaucet_bridge.commands.common import (
    ask_running,
    keychain,
    read_secret,
    report,
    said_plainly,
    settings,
    settings_path,
)
from modelfaucet_bridge.config import PORT, http_url, origin
from modelfaucet_bridge.edits import FIRST, edit, table
from modelfaucet_bridge.home import home, private_directory, write_private
from modelfaucet_bridge.keychain import GATEWAY_TOKEN, LOCAL_TOKEN, TOKEN_VARIABLE, Keychain, local_token
from modelfaucet_bridge.money import usd


@click.command()
@click.option("--port", type=int, default=PORT, show_default=True)
def init(port: int) -> None:
    """Make the settings and the token of this bridge; what is there already stays."""
    path = settings_path()
    private_directory(home())
    if not path.exists():
        write_private(path, FIRST.format(port=port))
        click.echo(f"Settings: {path}")
    else:
        click.echo(f"Settings: {path} (they were there already)")
    kept = keychain()
    with said_plainly():
        token = local_token(kept)
        if not token:
            token = new_token()
            kept.keep(LOCAL_TOKEN, token)
    if kept.uses_file:
        click.echo(f"Warning: this machine has no keychain. Secrets are in {kept.where}", err=True)
    config = settings()
    click.echo(f"Address:  {base_url(config)}/v1")
    click.echo(f"Token:    {token}")
    click.echo("Next:     modelfaucet-bridge start")


@click.command("token")
@click.option("--new", "renew", is_flag=True, help="Replace it; programs that use the present one are shut out.")
def show_token(renew: bool) -> None:
    """Print this bridge's token, for programs of yours."""
    kept = keychain()
    with said_plainly():
        if renew:
            kept.keep(LOCAL_TOKEN, new_token())
        token = local_token(kept)
    if not token:
        raise click.ClickException("there is none: run `modelfaucet-bridge init`")
    click.echo(token)


@click.command()
@click.option("--host", help="Address to listen at.  [default: the settings']")
@click.option("--port", type=int, help="Port to listen at.  [default: the settings']")
@click.option("--allow-remote", is_flag=True, help="Let other machines connect; for the address of your VPN.")
def start(host: str | None, port: int | None, allow_remote: bool) -> None:
    """Serve until stopped."""
    config = settings()
    host, port = host or config.host, config.port if port is None else port
    with said_plainly():
        token = local_token(Keychain(home(), config.secrets_backend))
    if not token:
        raise click.ClickException("there is no token: run `modelfaucet-bridge init`")
    if not is_loopback(host):
        if not (allow_remote or config.allow_remote):
            raise click.ClickException(
                f"{host} can be reached from other machines. Use the address of your Tailscale or WireGuard, "
                "and say --allow-remote."
            )
        if len(token) < 24:
            raise click.ClickException(f"the token in {TOKEN_VARIABLE} is too short for other machines to try")
    # What serves is loaded by no other command: they are to be quick.
    from modelfaucet_bridge.commands.serving import serve

    lock = FileLock(home() / "running.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise click.ClickException(f"a bridge is running over {home()} already") from None
    try:
        serve(host, port)
    finally:
        lock.release()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Show what the running bridge is doing. Ends with 3 if it is not running."""
    found = ask_running("GET", "/status")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"modelfaucet-bridge {found['version']} at {base_url(settings())}/v1")
    if found["gateway"]:
        click.echo(f"gateway {found['gateway']}: {found['relay']}, {found['reports_pending']} reports waiting")
    for endpoint in found["endpoints"]:
        health, month, minute = endpoint["health"], endpoint["month"], endpoint["minute"]
        click.echo(f"{health['state']:8} {endpoint['name']:16} {endpoint['kind']:18} {endpoint['base_url']}")
        budget = month["budget_nano_usd"]
        spent = f"{usd(month['spent_nano_usd'])}" + (f" of {usd(budget)}" if budget is not None else "")
        unknown = month["calls_of_unknown_price"]
        more = f", {unknown} of unknown price" if unknown else ""
        requests = f"{minute['requests']}/{minute['rpm'] or '–'} RPM, {minute['tokens']}/{minute['tpm'] or '–'} TPM"
        click.echo(f"         {spent} this month, {month['calls']} calls{more}; {requests}")
        if health["error"]:
            click.echo(f"         {health['error']}")
        for model in endpoint["models"][:20]:
            window = f", {model['context_window']} tokens" if model["context_window"] else ""
            click.echo(f"           {model['id']} ({', '.join(model['capabilities'])}{window})")
    if found["problem"]:
        raise click.ClickException(found["problem"])


@click.command("doctor")
def run_doctor() -> None:
    """Check the settings, the keychain, every channel, alerts, the gateway and the running bridge."""
    report(asyncio.run(doctor(home())))


@click.command("security")
def run_security() -> None:
    """Go through the security checklist; ends with 1 if something fails."""
    report(security(home()))


@click.command("ui")
@click.option("--print", "only_print", is_flag=True, help="Print its address instead of opening it.")
def open_page(only_print: bool) -> None:
    """Open the page of the running bridge in your browser."""
    url = f"{base_url(settings())}/ui?key={ask_running('POST', '/admin/page-key')['key']}"
    if only_print or not webbrowser.open(url):
        click.echo(url)


@click.command()
@click.argument("code")
@click.option("--deny", is_flag=True, help="Refuse it instead.")
def allow(code: str, deny: bool) -> None:
    """Pair the web page that shows CODE."""
    found = ask_running("POST", "/admin/pairings", {"code": code, "allow": not deny})
    click.echo(f"{found['app_name']} at {found['origin']}: {found['state']}")


@click.group()
def origins() -> None:
    """Web pages that may call this bridge."""


@origins.command("list")
def list_origins() -> None:
    """List the origins of the settings and those that were paired."""
    for each in settings().origins:
        click.echo(f"{each}  (settings; with the bridge's own token)")
    for paired in Origins(home() / "origins.json").all():
        click.echo(f"{paired.origin}  (paired: {paired.app_name})")


@origins.command("add")
@click.argument("url")
def add_origin(url: str) -> None:
    """Let pages of this origin call with the bridge's own token: only for a page of yours."""

    def change(document: tomlkit.TOMLDocument) -> None:
        known = document.setdefault("origins", [])
        if origin(url) not in known:
            known.append(origin(url))

    with said_plainly():
        edit(settings_path(), change)
    click.echo(f"{url} is allowed.")


@origins.command("remove")
@click.argument("url")
def remove_origin(url: str) -> None:
    """Allow this origin no more, and revoke its tokens."""

    def change(document: tomlkit.TOMLDocument) -> None:
        document["origins"] = [known for known in document.get("origins", []) if known != url]

    with said_plainly():
        was_set = url in settings().origins
        if was_set:
            edit(settings_path(), change)
    if not Origins(home() / "origins.json").remove(url) and not was_set:
        raise click.ClickException(f"{url} was not allowed")
    click.echo(f"{url} is allowed no more.")


@click.command()
@click.option("--gateway", required=True, metavar="URL", help="Address of your ModelFaucet gateway.")
@click.option("--token", help="The bridge's token (mf_brg_…); without it, it is read from a pipe or asked for.")
@click.option("--reports-only", is_flag=True, help="Report usage for sessions; open no connection for calls.")
def connect(gateway: str, token: str | None, reports_only: bool) -> None:
    """Connect to a gateway: your models become reachable there, and local usage is reported to it."""
    with said_plainly():
        url = http_url(gateway).removesuffix("/v1")
        if not reports_only:
            token = token or read_secret("Token of this bridge (mf_brg_…)", ("MODELFAUCET_BRIDGE_TOKEN",))
            if not token.startswith("mf_brg_"):
                raise click.ClickException("a bridge's token begins with mf_brg_: make one on your page “Local models”")
            keychain().keep(GATEWAY_TOKEN, token)

        def change(document: tomlkit.TOMLDocument) -> None:
            into = table(document, "gateway")
            into["url"] = url
            into.pop("token_ref", None)
            if not reports_only:
                into["token_ref"] = f"keychain:{GATEWAY_TOKEN}"

        edit(settings_path(), change)
    click.echo(f"Connected to {url}: a running bridge takes it up within a second. See `status`.")


@click.command()
def disconnect() -> None:
    """Leave the gateway, and forget its token."""
    with said_plainly():
        edit(settings_path(), lambda document: document.pop("gateway", None))
        keychain().delete(GATEWAY_TOKEN)
    click.echo("Disconnected.")
