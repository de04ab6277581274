"""The version, in one place."""

VERSION = "0.1.0"
AGENT = f"modelfaucet-sdk-python/{VERSION}"
