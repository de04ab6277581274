#!/usr/bin/env bash
# Build, type-check, test and pack every package (`make packages`). Each has its own build.sh; what is packed goes to dist/.
set -euo pipefail
cd "$(dirname "$0")"
PYTHON=$(cd .. && pwd)/.venv/bin/python
export PYTHON DIST=$PWD/dist PYTHONDONTWRITEBYTECODE=1
mkdir -p "$DIST"
for package in sdk-js react sdk-python local-bridge; do
  if [ -x "$package/build.sh" ]; then
    printf '\n== %s (%d s)\n' "$package" "$SECONDS"
    (cd "$package" && ./build.sh)
  fi
done
