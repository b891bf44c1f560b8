"""Opening the database that a URL names."""

from rollout.store.database import Database
from rollout.store.postgres import open_postgres
from rollout.store.postgres_url import is_postgres
from rollout.store.sqlite import BUSY_S, open_sqlite


def open_database(url: str, *, busy_s: float = BUSY_S) -> Database:
    """Open the database of `url`; `busy_s` is how long a statement waits for somebody else's lock.

    Raises StoreError when the URL is of no known kind, or the database cannot be used or is not ours.
    """
    return open_postgres(url, busy_s=busy_s) if is_postgres(url) else open_sqlite(url, busy_s=busy_s)
