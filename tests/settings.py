"""Settings of the tests: the project's own, with a database, secrets and switches that are made for this run.

pytest-django imports settings before any conftest, so this is the place to prepare the environment. The
workers of pytest-xdist are started with what the first process put there.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from modelfaucet import embedded

# What a developer's shell may hold and would make a test's outcome depend on the machine.
_FOREIGN = ("DEBUG", "DEMO", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "STRIPE_ENABLED", "TIME_ZONE")


def _prepare() -> None:
    directory = Path(tempfile.mkdtemp(prefix="modelfaucet-tests-"))
    for name in (*_FOREIGN, "WEB_PROCESSES", "CELERY_BROKER_URL", "PORT", "HOST"):
        os.environ.pop(name, None)
    os.environ["TEST_VAR_DIR"] = os.environ["VAR_DIR"] = str(directory)
    os.environ["PROFILE"] = "embedded"
    os.environ["TEST_REDIS_URL"] = os.environ.pop("REDIS_URL", "")  # only for the tests that ask for Redis
    if os.environ.get("DATABASE_URL"):
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    else:  # the server deletes its directory when it stops
        os.environ["DATABASE_URL"] = embedded.database_url(directory, disposable=True)


if "TEST_VAR_DIR" not in os.environ:
    _prepare()

from modelfaucet.settings import *  # noqa: E402, F403  (read the environment prepared above)

# Two cores, several servers and the tests themselves: what waits here waits for the processor, not for a pool.
DATABASES["default"]["OPTIONS"]["pool"]["timeout"] = 30  # noqa: F405
DATABASES["default"]["OPTIONS"]["options"] = "-c synchronous_commit=off"  # noqa: F405 (no test cuts the power)
RETRIES = 0  # what a provider is asked is counted; the tests of repetition switch it on
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one is slow on purpose
