"""The one clock. Nothing else may call datetime.now (a lint rule holds this)."""

from datetime import UTC, datetime


class SystemClock:
    """The machine's clock in UTC."""

    def now(self) -> datetime:
        """The present time."""
        return datetime.now(UTC)
