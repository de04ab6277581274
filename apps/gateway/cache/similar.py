"""The vectors of prompts whose answers are kept, in the database: one row a prompt, newest first."""

from apps.features.queries import Principal
from apps.gateway.cache.keys import Likeness
from apps.gateway.runtime import Runtime

# Prompts of one context that are compared, and so that are kept.
MOST_COMPARED = 500

_FIND = """
SELECT answer_key, vector FROM semantic_entries
WHERE context_hash = %s AND app_id = %s AND feature_key = %s AND model = %s AND expires_at > now()
ORDER BY id DESC LIMIT %s
"""
# Whatever a later search would not look at, the same answer's older vector included.
_FORGET = """
DELETE FROM semantic_entries WHERE context_hash = %(context)s AND (
    answer_key = %(answer)s OR id < (
        SELECT min(id) FROM (
            SELECT id FROM semantic_entries WHERE context_hash = %(context)s ORDER BY id DESC LIMIT %(others)s
        ) newest
    )
)
"""
_KEEP = """
INSERT INTO semantic_entries (app_id, feature_key, context_hash, model, vector, answer_key, created_at, expires_at)
VALUES (%(app)s, %(feature)s, %(context)s, %(model)s, %(vector)s, %(answer)s, now(),
        now() + make_interval(secs => %(ttl)s))
"""


async def find_vectors(
    runtime: Runtime, principal: Principal, likeness: Likeness, *, model: str
) -> list[tuple[str, bytes]]:
    """Return answer keys and vectors of one context, newest first. Raises psycopg.Error."""
    async with runtime.connection() as connection:
        cursor = await connection.execute(
            _FIND, (likeness.context, principal.app_id, principal.feature_key, model, MOST_COMPARED)
        )
        return [(key, bytes(vector)) for key, vector in await cursor.fetchall()]


async def keep_vector(
    runtime: Runtime,
    principal: Principal,
    likeness: Likeness,
    *,
    model: str,
    vector: bytes,
    answer_key: str,
    ttl: int,
) -> None:
    """Store the vector of a prompt whose answer is kept for `ttl` seconds. Raises psycopg.Error."""
    values = {
        "app": principal.app_id,
        "feature": principal.feature_key,
        "context": likeness.context,
        "model": model,
        "vector": vector,
        "answer": answer_key,
        "ttl": ttl,
        "others": MOST_COMPARED - 1,
    }
    async with runtime.connection() as connection, connection.transaction():
        await connection.execute(_FORGET, values)
        await connection.execute(_KEEP, values)
