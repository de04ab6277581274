"""Make a world over the database of the environment: `python -m tests.crash.seed PROVIDER_URL USERS USD`.

Prints its tokens and accounts as JSON. For databases that are not the one pytest works on.
"""

import json
import sys

import django

django.setup()

from tests.live import make_world  # noqa: E402


def main() -> None:
    provider_url, users, usd = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    world = make_world("", provider_url, usd=usd, max_output_tokens=200)
    everybody = [world, *(world.new_session(f"user-{number}", usd=usd) for number in range(1, users))]
    print(json.dumps([{"token": each.token, "account": each.account_id} for each in everybody]))  # noqa: T201


if __name__ == "__main__":
    main()
