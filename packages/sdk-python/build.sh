#!/usr/bin/env bash
# Called by packages/build.sh, which names PYTHON and DIST.
set -euo pipefail
"$PYTHON" scripts/unasync.py --check
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
PYTHONPATH=src "$PYTHON" -m pytest -q -c pyproject.toml --rootdir . -p no:cacheprovider --reruns "${RERUNS:-0}" --rerun-show-tracebacks -p no:django tests
"$PYTHON" -m build --no-isolation -o "$DIST"
