"""Bringing the schema up to date, inside one transaction that holds the writer's lock.

Each change of tables.py is a file in versions/, written by hand and never edited once released. It says its
`kind`: `expand`, beside which the version before goes on writing, or `contract`, which raises the floor.
"""

import threading
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from rollout.core.errors import StoreError
from rollout.store.database import Database
from rollout.store.floor import KNOWN, read_floor

_NEWER = {
    "sqlite": "install the newer program, or restore the backup that was made before its first start.",
    "postgresql": "install the newer program here. Restore no backup: the others that share it work on it.",
}
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration under way in module globals
log = structlog.get_logger(__name__)


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version this program knows; two processes may do so together.

    Raises StoreError when a newer program wrote the schema, or the database cannot be used.
    """
    try:
        with database.read.begin() as conn:
            if not _behind(database.name, conn):
                return
        # A second process waits here, and then finds nothing left to do.
        with _ONE_AT_A_TIME, database.migrating() as conn:
            if _behind(database.name, conn):
                command.upgrade(config_of(conn), "head")
                log.info("database schema upgraded", database=database.name)
    except DBAPIError as error:
        raise database.explained(error) from error


def versions(database: Database) -> tuple[str | None, str | None]:
    """Read the schema that the file has and the newest that this program knows; nothing is changed."""
    try:
        with database.read.begin() as conn:
            newest = ScriptDirectory.from_config(config_of(conn)).get_current_head()
            return MigrationContext.configure(conn).get_current_revision(), newest
    except DBAPIError as error:
        raise database.explained(error) from error


def may_write(database: Database) -> bool:
    """Whether a database with a newer schema lets this program write."""
    try:
        with database.read.begin() as conn:
            return "" < read_floor(conn) <= KNOWN
    except DBAPIError as error:
        raise database.explained(error) from error


def _behind(name: str, conn: Connection) -> bool:
    """Whether there is something to do. Raises StoreError when a newer program let this one write no more."""
    scripts = ScriptDirectory.from_config(config_of(conn))
    newest = scripts.get_current_head()
    present = MigrationContext.configure(conn).get_current_revision()
    if present is not None and present not in {script.revision for script in scripts.walk_revisions()}:
        if "" < read_floor(conn) <= KNOWN:
            log.warning("schema is newer, and may be written", database=name, schema=present, known=newest)
            return False
        raise StoreError(
            f"The database '{name}' was written by a newer version of this program: its schema is "
            f"'{present}', and this one knows up to '{newest}'. It was not touched; "
            f"{_NEWER[conn.dialect.name]}"
        )
    return present != newest


def config_of(conn: Connection) -> Config:
    """Alembic for a connection, whose transaction it uses."""
    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
