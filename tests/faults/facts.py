"""What the regions wrote down and what the database says, as plain values. What must be true: checks.py."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Acknowledged:
    """What the API said yes to."""

    starts: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id → service, version, end
    notes: list[tuple[str, str]] = field(default_factory=list)  # rollout, text


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One order as a region took it."""

    at: float
    began: float
    who: str
    became: str  # effect, same, again, refused, read
    key: str
    kind: str
    service: str
    region: str
    version: str
    weight: int
    generation: int

    @property
    def changed(self) -> bool:
        return self.became in {"effect", "same"}

    @property
    def order(self) -> tuple[Any, ...]:
        return self.kind, self.service, self.region, self.version, self.weight, self.generation

    @property
    def rollout(self) -> str:
        return self.key.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of history."""

    rollout: str
    number: int
    region: str | None
    to_phase: str
    trigger: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that is checked."""

    journal: list[Entry]
    rollouts: Mapping[str, tuple[str, str, str, int]]  # id → service, version, phase, transitions
    plans: Mapping[str, list[str]]  # rollout → its regions in order
    steps: list[Step]
    actions: Mapping[str, tuple[Any, ...]]  # key → the order
    intents: Counter[tuple[str, str]]
    believed: Mapping[tuple[str, str], Mapping[str, int]]  # (region, service) → what runs, by the database
    running: Mapping[tuple[str, str], Mapping[str, int]]  # the same, by the region
    acknowledged: Acknowledged


def read_facts(
    ask: Callable[[str], list[Any]], journal: list[Any], standing: list[Any], acknowledged: Acknowledged
) -> Facts:
    """Read the tables; nothing is checked here."""
    rollouts = ask("SELECT id, service, body, phase, transitions FROM rollouts")
    actions = ask("SELECT key, kind, body FROM actions")
    return Facts(
        journal=[_entry(line) for line in journal],
        rollouts={r[0]: (r[1], json.loads(r[2])["release"]["version"], r[3], r[4]) for r in rollouts},
        plans=_plans(ask("SELECT rollout_id, region FROM rollout_regions ORDER BY rollout_id, position")),
        steps=[
            Step(rollout=r[0], number=r[1], region=r[2], to_phase=r[3], trigger=r[4])
            for r in ask(
                "SELECT rollout_id, number, region, to_phase, trigger FROM transitions ORDER BY sequence"
            )
        ],
        actions={r[0]: _order(r[1], json.loads(r[2])["action"]) for r in actions},
        intents=Counter(
            (r[0], json.loads(r[1])["reason"])
            for r in ask("SELECT rollout_id, body FROM intents WHERE kind = 'note'")
        ),
        believed={
            (r[0], r[1]): json.loads(r[2])["running"]
            for r in ask("SELECT region, service, body FROM service_regions")
        },
        running={(p["region"], p["service"]): _counts(p["running"]) for p in standing},
        acknowledged=acknowledged,
    )


def _plans(rows: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for rollout, region in rows:
        found[rollout].append(region)
    return found


def _entry(line: Mapping[str, Any]) -> Entry:
    order = line["order"]
    names = ("service", "region", "version", "weight", "generation")
    told = {name: order[name] for name in names} | {"key": order["action_id"], "kind": order["action"]}
    return Entry(**told, **{name: line[name] for name in ("at", "began", "who", "became")})


def _order(kind: str, action: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("service", "region", "version", "weight", "generation")
    return (kind, *(action.get(name) or {"version": "", "weight": 0}.get(name) for name in names))


def _counts(running: Mapping[str, int]) -> dict[str, int]:
    found = {version: round(share * 4 / 100) for version, share in running.items()}
    return {version: count for version, count in found.items() if count}
