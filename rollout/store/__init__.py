"""Everything that outlives a process: tables, mapping row ↔ noun, the SQL store, migrations.

Nothing here knows what is allowed or wise. Start with `open_store(url)`.
"""

from rollout.store.running import Run, Threads, inline
from rollout.store.sql import SqlStore, open_store

__all__ = ["Run", "SqlStore", "Threads", "inline", "open_store"]
