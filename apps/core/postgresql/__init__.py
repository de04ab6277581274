"""Django's database backend for PostgreSQL, with a pool that gets over an outage at once: `ENGINE`."""
