"""Puts the SDK into the extension, and makes the gateway ready for it.

    python prepare.py            both, at the demo (var/demo.json; DEMO_JSON names another file) or as FAUCET_* say
    python prepare.py sdk        the SDK alone

An extension may run no code that is not in it, so the SDK's files are copied. Nothing secret is written: the gateway's
address and the app's public id go into defaults.json; FAUCET_APP_ID and FAUCET_DEVELOPER_TOKEN do not.
"""

import base64
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SDK = ROOT / "static" / "sdk" / "0.1.0"
SDK_FILES = ("faucet.js", "local.js")
# What every device may spend, once, so that whoever installs the extension can begin.
ALLOWANCE_USD = "0.05"
FEATURES = {"summary": "Summarise", "translate": "Translate", "explain": "Explain"}


def copy_sdk(target: Path = HERE) -> None:
    """Copy the SDK's files into `target`/sdk."""
    (target / "sdk").mkdir(exist_ok=True)
    for name in SDK_FILES:
        shutil.copyfile(SDK / name, target / "sdk" / name)


def extension_origin() -> str:
    """Return the origin that the manifest's key gives the extension in Chromium, wherever it is installed."""
    key = base64.b64decode(json.loads((HERE / "manifest.json").read_text())["key"])
    digits = hashlib.sha256(key).hexdigest()[:32]
    return "chrome-extension://" + "".join("abcdefghijklmnop"[int(digit, 16)] for digit in digits)


def read_gateway(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return where the gateway is and the app there. Exits with a sentence where nothing says so."""
    path = Path(environ.get("DEMO_JSON") or ROOT / "var" / "demo.json")
    demo: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    names = ("base_url", "public_app_id", "app_id", "developer_token", "model")
    found = {name: environ.get(f"FAUCET_{name.upper()}") or demo.get(name, "") for name in names}
    if not found["base_url"] or not found["developer_token"]:
        sys.exit(f"There is no gateway: run `make demo` first (it writes {path}), or set FAUCET_BASE_URL and others.")
    return {**found, "base_url": found["base_url"].rstrip("/").removesuffix("/v1")}


def prepare_gateway(gateway: Mapping[str, str]) -> list[str]:
    """Make the features that are missing, allow the extension, give devices an allowance; return what was done."""
    done = []
    path = f"/apps/{gateway['app_id']}"
    have = {feature["key"] for feature in _api(gateway, "GET", f"{path}/features")["data"]}
    for key, name in FEATURES.items():
        if key not in have:
            _make_feature(gateway, f"{path}/features", key, name)
            done.append(f"feature {key}")
        if f"{key}-local" not in have:
            _make_local_feature(gateway, f"{path}/features", key, name)
            done.append(f"feature {key}-local")
    app, origin = _api(gateway, "GET", path), extension_origin()
    if origin not in app["allowed_origins"]:
        _api(gateway, "PATCH", path, {"allowed_origins": [*app["allowed_origins"], origin]})
        done.append(f"origin {origin}")
    if float(app["anonymous_allowance_usd"]) == 0:
        _api(gateway, "PATCH", path, {"anonymous_allowance_usd": ALLOWANCE_USD})
        done.append(f"${ALLOWANCE_USD} for every device, on the app")
    return done


def _make_feature(gateway: Mapping[str, str], path: str, key: str, name: str) -> None:
    """Make a feature by a manifest of our own where there is one, else by the gateway's template."""
    body = {"key": key, "name": name, "default_model": gateway["model"]}
    own = HERE / "features" / f"{key}.json"
    if not own.exists():
        _api(gateway, "POST", path, {**body, "template": f"{key}.en"})
        return
    _api(gateway, "POST", path, body)
    _api(gateway, "PUT", f"{path}/{key}/manifest", json.loads(own.read_text()))


def _make_local_feature(gateway: Mapping[str, str], path: str, key: str, name: str) -> None:
    """Make the same feature for a model on the user's own machine: no call of it leaves that."""
    manifest = _api(gateway, "GET", f"{path}/{key}/manifest")["manifest"]
    body = {"key": f"{key}-local", "name": f"{name} (this computer)", "default_model": gateway["model"]}
    _api(gateway, "POST", path, body)
    _api(gateway, "PUT", f"{path}/{key}-local/manifest", {**manifest, "privacy": {"mode": "local_only"}})


def _api(gateway: Mapping[str, str], method: str, path: str, body: Any = None) -> Any:
    request = Request(  # noqa: S310 - the address is the operator's own
        f"{gateway['base_url']}/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {gateway['developer_token']}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=30) as response:  # noqa: S310 - as above
            return json.load(response)
    except HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")
    except URLError as error:
        sys.exit(f"{gateway['base_url']} cannot be reached: {error.reason}")


def main() -> None:
    """Run the command."""
    if sys.argv[1:] not in ([], ["sdk"]):
        sys.exit(__doc__)
    copy_sdk()
    if sys.argv[1:] == ["sdk"]:
        return
    gateway = read_gateway()
    public = {"baseUrl": gateway["base_url"], "publicAppId": gateway["public_app_id"]}
    (HERE / "defaults.json").write_text(json.dumps(public) + "\n")
    print("\n".join(prepare_gateway(gateway)) or "Nothing to do: the gateway is ready.")  # noqa: T201
    print(f"Now load {HERE} as an unpacked extension.")  # noqa: T201


if __name__ == "__main__":
    main()
