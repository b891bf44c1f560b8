"""Which programs may write: those that know the schema named in `schema_floor` (docs/decisions/0016).

A program is known by the newest schema that it has a migration to. It is checked in every transaction that
writes, since another replica may upgrade the database under a program that runs.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from rollout.core.errors import TooOld

ASK = "SELECT max(floor) FROM schema_floor"
FLOOR = f"({ASK})"  # an expression for any statement
KNOWN = max(path.name[:4] for path in (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*_*.py"))


def read_floor(conn: Connection) -> str:
    """The floor of a database; empty where there is none yet."""
    if not inspect(conn).has_table("schema_floor"):
        return ""
    return str(conn.exec_driver_sql(ASK).scalar_one() or "")


def refuse_below(name: str, floor: str | None) -> None:
    """Raises TooOld when this program is too old to write."""
    if floor and floor > KNOWN:
        raise TooOld(name, KNOWN, floor)


def raise_floor(conn: Connection, revision: str) -> None:
    """For a migration that contracts: programs that do not know `revision` write no more."""
    conn.execute(text("UPDATE schema_floor SET floor = :floor"), {"floor": revision})
