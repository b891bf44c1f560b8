"""Column types that say the same on SQLite and on PostgreSQL. What the columns mean is in tables.py."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Float, Integer, String, Text, TypeDecorator

ID = String().with_variant(String(collation="C"), "postgresql")  # compared byte by byte, as SQLite does
SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only as INTEGER


class Utc(TypeDecorator[datetime]):
    """An aware time, stored and returned in UTC. Raises ValueError for a time without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Turn into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """SQLite keeps no zone; what was written was UTC."""
        if value is None:
            return None
        at: datetime = value
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


class Number(TypeDecorator[float]):
    """A measured number. SQLite stores "not a number" as NULL; it comes back as what it was, never as 0."""

    impl = Float
    cache_ok = True

    def process_result_value(self, value: Any, _dialect: Dialect) -> float:
        """NULL is not a number."""
        return math.nan if value is None else float(value)


class Json(TypeDecorator[Mapping[str, Any]]):
    """A part of a noun as JSON text, in which infinity survives: evidence may hold it.

    Pydantic's own JSON turns infinity into null, and JSON columns of PostgreSQL refuse it, so this is text.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, Any] | None, _dialect: Dialect) -> str | None:
        """Write it."""
        if value is None:
            return None
        return json.dumps(value, default=datetime.isoformat, separators=(",", ":"), ensure_ascii=False)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Mapping[str, Any]:
        """Read it."""
        return {} if value is None else json.loads(value)
