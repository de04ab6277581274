"""The command `modelfaucet-bridge`."""

import click

from modelfaucet_bridge import __version__
from modelfaucet_bridge.commands import channels, running


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelfaucet-bridge")
def main() -> None:
    """Local models and your own provider keys behind one OpenAI-compatible address on this machine.

    Settings and the ledger are in ~/.modelfaucet, or in $MODELFAUCET_BRIDGE_HOME.
    """


for command in (
    running.init,
    running.start,
    running.status,
    running.run_doctor,
    running.run_security,
    running.open_page,
    running.show_token,
    running.allow,
    running.origins,
    running.connect,
    running.disconnect,
    channels.channels,
    channels.keychain_group,
    channels.alerts,
):
    main.add_command(command)
# As the first version of this gateway called them.
main.add_command(channels.test_alert, "feishu:test")
main.add_command(channels.set_secret, "keychain:set")

if __name__ == "__main__":
    main()
