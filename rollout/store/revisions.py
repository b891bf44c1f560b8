"""Revisions of policies, shared by all replicas: one number for each text, whoever sees it first.

It is asked while files are read, outside of the event loop's turns, so it is synchronous.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from rollout.config.revisions import numbers, read_file
from rollout.store import tables
from rollout.store.database import Database
from rollout.store.writing import add

_P = tables.policy_revisions


class StoredRevisions:
    """A book in a database. `before` is the file of an earlier version, taken in policy by policy."""

    def __init__(self, database: Database, before: Path) -> None:
        self._database, self._before = database, before

    def assign(self, digests: Mapping[str, str]) -> Mapping[str, int]:
        """Give each policy the revision of its digest, from 1. Raises StoreError, and InvalidInput."""
        database = self._database
        known = self._tried(lambda: database.run(database.read, lambda conn: _known(conn, digests)))
        if known.keys() != digests.keys():
            kept = read_file(self._before)
            known = self._tried(
                lambda: database.run(database.write, lambda conn: _added(conn, digests, kept))
            )
        return known

    def _tried(self, once: Callable[[], dict[str, int]]) -> dict[str, int]:
        """Again where only others were in the way, as two replicas that start together are."""
        for pause_s in (*self._database.pauses_s, None):
            try:
                return once()
            except DBAPIError as error:
                if pause_s is None or not self._database.again(error):
                    raise self._database.explained(error) from error
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")


def _known(conn: Connection, digests: Mapping[str, str]) -> dict[str, int]:
    found = conn.execute(select(_P).where(_P.c.policy.in_(digests)))
    return {row.policy: row.revision for row in found if row.digest == digests[row.policy]}


def _added(conn: Connection, digests: Mapping[str, str], before: Mapping[str, list[str]]) -> dict[str, int]:
    known: dict[str, dict[str, int]] = {name: {} for name in digests}
    for row in conn.execute(select(_P).where(_P.c.policy.in_(digests))):
        known[row.policy][row.digest] = row.revision
    new = []
    for name, digest in digests.items():
        kept = known[name] or numbers(before.get(name, ()))
        if digest not in kept:
            kept = {**kept, digest: max(kept.values(), default=0) + 1}
        fresh = kept.items() - known[name].items()
        new += [{"policy": name, "digest": text, "revision": number} for text, number in sorted(fresh)]
        known[name] = kept
    add(conn, _P, new)
    return {name: known[name][digest] for name, digest in digests.items()}
