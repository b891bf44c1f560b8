"""What each released schema looks like, on both databases.

For a new one, write it with: python -m tests.upgrade.schemas
A migration that was released is never edited: the test of this file sees it.
"""

import sys
import tempfile
from contextlib import closing
from pathlib import Path

from alembic import command
from sqlalchemy import Connection, inspect

from rollout.store.engine import open_database
from rollout.store.floor import KNOWN
from rollout.store.migrations import config_of
from tests.store import postgres_lab

KEPT = Path(__file__).parent / "schemas"
RELEASED = tuple(f"{number:04}" for number in range(1, int(KNOWN) + 1))


def at_revision(url: str, revision: str) -> None:
    """Make the schema as it was at a revision."""
    with closing(open_database(url)) as database, database.migrating() as conn:
        command.upgrade(config_of(conn), revision)


def described(conn: Connection) -> str:
    """Every table with its columns, keys and indexes, a line each."""
    found, lines = inspect(conn), []
    for table in sorted(found.get_table_names()):
        columns = [
            f"{c['name']} {c['type']}{'' if c['nullable'] else ' not null'}" for c in found.get_columns(table)
        ]
        keys = found.get_pk_constraint(table)["constrained_columns"]
        lines.append(f"{table}: {', '.join(columns)}; key {', '.join(keys)}")
        lines += sorted(
            f"{table}: {', '.join(key['constrained_columns'])} names {key['referred_table']}"
            for key in found.get_foreign_keys(table)
        )
        lines += sorted(
            f"{table}: {'unique ' if each['unique'] else ''}index {', '.join(map(str, each['column_names']))}"
            for each in found.get_indexes(table)
        )
    return "\n".join(lines) + "\n"


def kept(kind: str, revision: str) -> Path:
    """Where one is kept."""
    return KEPT / f"{revision}.{kind}.txt"


def look(url: str) -> str:
    """The schema of a database."""
    with closing(open_database(url)) as database, database.read.connect() as conn:
        return described(conn)


def _main() -> None:
    KEPT.mkdir(exist_ok=True)
    with postgres_lab.server() as server, tempfile.TemporaryDirectory() as place:
        for revision in RELEASED:
            urls = {"sqlite": f"sqlite:///{place}/{revision}.db", "postgresql": server.url(server.database())}
            for kind, url in urls.items():
                at_revision(url, revision)
                kept(kind, revision).write_text(look(url))
                sys.stdout.write(f"{kept(kind, revision)}\n")


if __name__ == "__main__":
    _main()
