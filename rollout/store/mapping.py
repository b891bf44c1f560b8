"""Row ↔ noun. Rows are built only here, from nouns; what is read is validated on the way back."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Row, Table

from rollout.core.actions import ActionRecord
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.model import (
    Intent,
    Obligation,
    RegionRollout,
    Rollout,
    Service,
    ServiceRegion,
    Transition,
)
from rollout.core.plan import Plan
from rollout.core.signals import Sample
from rollout.ports import Emergency, Observed, Token
from rollout.store import tables

N = TypeVar("N")
Values = dict[str, Any]


class Mapped(Generic[N]):
    """One noun and its table: fields with a column of their name go there, all others into `body`.

    `apart` names fields that live in tables of their own.
    """

    def __init__(self, noun: type[N], table: Table, apart: tuple[str, ...] = ()) -> None:
        names = [field.name for field in fields(noun)]  # type: ignore[arg-type]  # every noun is a dataclass
        self._adapter: TypeAdapter[N] = TypeAdapter(noun)
        self._columns = tuple(name for name in names if name in table.c)
        self._elsewhere = {*self._columns, *apart}
        self._has_body = "body" in table.c
        if not self._has_body and self._elsewhere != set(names):
            raise TypeError(f"{table.name} has no place for {set(names) - self._elsewhere}")

    def row(self, noun: N, **more: Any) -> Values:
        """The row's values; `more` are columns that the noun has no field for."""
        values = {name: _plain(getattr(noun, name)) for name in self._columns}
        if self._has_body:
            values["body"] = self._adapter.dump_python(noun, by_alias=True, exclude=self._elsewhere)
        return values | more

    def noun(self, row: Row[Any], **apart: Any) -> N:
        """The noun of a row. Raises pydantic's ValidationError when something else wrote the row."""
        found = row._mapping
        columns = {name: found[name] for name in self._columns}
        body: Mapping[str, Any] = found["body"] if self._has_body else {}
        return self.of({**body, **columns, **apart})

    def of(self, values: Mapping[str, Any]) -> N:
        """The noun of all its values. Raises pydantic's ValidationError."""
        return self._adapter.validate_python(values)


def _plain(value: Any) -> Any:
    """NUL, which text from outside may hold, is a character that PostgreSQL does not store."""
    if isinstance(value, Enum):
        return value.value
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


ROLLOUT = Mapped(Rollout, tables.rollouts, apart=("regions",))
REGION = Mapped(RegionRollout, tables.regions)
PLAN = Mapped(Plan, tables.plans)
EVIDENCE = Mapped(RegionEvidence, tables.evidence)
TRANSITION = Mapped(Transition, tables.transitions)
ACTION = Mapped(ActionRecord, tables.actions)
INTENT = Mapped(Intent, tables.intents)
OBLIGATION = Mapped(Obligation, tables.obligations)
OBSERVED = Mapped(Observed, tables.observed)
SAMPLE = Mapped(Sample, tables.samples)
SERVICE = Mapped(Service, tables.services)
SERVICE_REGION = Mapped(ServiceRegion, tables.service_regions)
TOKEN = Mapped(Token, tables.tokens)
EMERGENCY = Mapped(Emergency, tables.emergencies)


@lru_cache(maxsize=256)
def plan(body: str) -> Plan:
    """A plan as it is stored: most rollouts of a policy have the same, which is then read once."""
    return PLAN.of(json.loads(body))


def rollout_row(rollout: Rollout) -> Values:
    """A rollout without its regions."""
    return ROLLOUT.row(rollout, service=rollout.release.service)


def region_rows(rollout: Rollout) -> list[Values]:
    """The regions of a rollout, in order; whether they are claimed is not for the noun to say."""
    service = rollout.release.service
    return [
        REGION.row(region, rollout_id=rollout.id, position=position, service=service)
        for position, region in enumerate(rollout.regions)
    ]


def transition_row(service: str, transition: Transition) -> Values:
    """A row of history."""
    return TRANSITION.row(transition, service=service)


def action_row(record: ActionRecord) -> Values:
    """A recorded action with the time at which it waits no longer."""
    return ACTION.row(record, kind=record.action.kind.value, waits_until=_waits_until(record))


def _waits_until(record: ActionRecord) -> datetime | None:
    wait_s = record.action.wait_s
    return record.recorded_at + timedelta(seconds=wait_s) if record.after and wait_s > 0 else None
