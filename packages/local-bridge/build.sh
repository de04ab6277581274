#!/usr/bin/env bash
# Called by packages/build.sh, which names PYTHON and DIST.
set -euo pipefail
python=$(./environment.sh)
"$python" -m ruff check .
"$python" -m ruff format --check .
MYPYPATH=src "$python" -m mypy
PYTHONPATH=src:tests "$python" -m pytest -q -n 2 -p no:cacheprovider --reruns "${RERUNS:-0}" --rerun-show-tracebacks tests
"$python" -m build --no-isolation -o "$DIST"
# What was built works where nothing else is.
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
"$PYTHON" -m venv "$empty"
"$empty/bin/python" -m pip install --quiet --disable-pip-version-check "$DIST"/modelfaucet_bridge-*.whl
"$empty/bin/modelfaucet-bridge" --help >/dev/null
MODELFAUCET_BRIDGE_HOME=$empty/home "$empty/bin/modelfaucet-bridge" init >/dev/null
MODELFAUCET_BRIDGE_HOME=$empty/home "$empty/bin/modelfaucet-bridge" security
