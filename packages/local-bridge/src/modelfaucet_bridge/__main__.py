"""Run `modelfaucet-bridge` as `python -m modelfaucet_bridge`."""

from modelfaucet_bridge.cli import main

main()
