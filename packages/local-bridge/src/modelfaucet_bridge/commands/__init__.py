"""The command `modelfaucet-bridge`."""
