#!/usr/bin/env bash
# Print the Python of the environment that the bridge's tests run in. It is made once for each pyproject.toml, in the
# user's cache, so that what the bridge needs is no need of the gateway's. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/modelfaucet
mkdir -p "$cache"
environment=$cache/bridge-$( (cat pyproject.toml; "$PYTHON" -VV) | sha256sum | cut -c1-16)
exec 9>"$cache/bridge.lock"
flock 9
if [ ! -e "$environment/ready" ]; then
  rm -rf "$environment"
  "$PYTHON" -m venv "$environment"
  wanted=$("$environment/bin/python" -c 'import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
print(*project["project"]["dependencies"], *project["dependency-groups"]["dev"])')
  # shellcheck disable=SC2086 - one word for each package
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check $wanted >&2
  touch "$environment/ready"
fi
echo "$environment/bin/python"
