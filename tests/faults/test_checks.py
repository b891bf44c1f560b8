"""The check at the end of every fault finds each thing that it is there to find."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checks import violations
from tests.faults.facts import Acknowledged, Entry, Facts, Step

ENTRY = Entry(
    at=10.0, began=9.9, who="a", became="effect", key="ro_1/2/0", kind="deploy", service="mail", region="R3",
    version="2.0.0", weight=75, generation=2,
)  # fmt: skip
THEN = replace(ENTRY, key="ro_1/4/0", region="R1", began=12.5, at=12.6)
STEPS = (
    (1, None, "queued"),
    (2, "R3", "deploying"),
    (3, "R3", "passed"),
    (4, "R1", "deploying"),
    (5, "R1", "passed"),
    (6, None, "succeeded"),
)
RUNS = {("R3", "mail"): {"2.0.0": 4}, ("R1", "mail"): {"2.0.0": 4}}


def _steps(*rows: tuple[int, str | None, str]) -> list[Step]:
    return [Step(rollout="ro_1", number=n, region=r, to_phase=p, trigger="t") for n, r, p in rows]


def _facts(**other: Any) -> Facts:
    given: dict[str, Any] = {
        "journal": [ENTRY, THEN],
        "rollouts": {"ro_1": ("mail", "2.0.0", "succeeded", 6)},
        "plans": {"ro_1": ["R3", "R1"]},
        "steps": _steps(*STEPS),
        "actions": {entry.key: entry.order for entry in (ENTRY, THEN)},
        "intents": Counter({("ro_1", "a note"): 1}),
        "believed": RUNS,
        "running": RUNS,
        "acknowledged": Acknowledged({"ro_1": ("mail", "2.0.0", "succeeded")}, [("ro_1", "a note")]),
    }
    return Facts(**{**given, **other})


def _rolled_back(*entries: Entry, steps: tuple[tuple[int, str | None, str], ...]) -> Facts:
    return _facts(
        journal=list(entries),
        rollouts={"ro_1": ("mail", "2.0.0", "rolled_back", len(steps))},
        steps=_steps(*steps),
        actions={entry.key: entry.order for entry in entries},
        acknowledged=Acknowledged({"ro_1": ("mail", "2.0.0", "rolled_back")}, []),
    )


RESTORED = replace(
    ENTRY, key="ro_1/3/1", kind="restore", version="1.0.0", weight=100, generation=3, began=11, at=11
)
BACK = ((1, None, "queued"), (2, "R3", "deploying"), (3, None, "rolling_back"), (4, None, "rolled_back"))


def test_what_is_right_is_no_violation() -> None:
    assert violations(_facts()) == []
    assert violations(_rolled_back(ENTRY, RESTORED, steps=BACK)) == []


WRONG: dict[str, Callable[[], Facts]] = {
    "was acknowledged, and is not there": lambda: _facts(rollouts={}, steps=[]),
    "asked for once and has 2 rollouts": lambda: _facts(
        rollouts={
            name: ("mail", "2.0.0", "succeeded", 6 if name == "ro_1" else 0) for name in ("ro_1", "ro_2")
        }
    ),
    "was acknowledged once and is there 0 times": lambda: _facts(intents=Counter()),
    "was acknowledged once and is there 2 times": lambda: _facts(intents=Counter({("ro_1", "a note"): 2})),
    "history is": lambda: _facts(steps=[step for step in _steps(*STEPS) if step.number != 3]),
    "was never recorded": lambda: _facts(actions={ENTRY.key: ENTRY.order}),
    "and ordered as": lambda: _facts(journal=[ENTRY, replace(THEN, weight=100)]),
    "took effect 2 times": lambda: _facts(journal=[ENTRY, replace(ENTRY, became="same"), THEN]),
    "by 2 keys": lambda: _facts(
        journal=[ENTRY, replace(ENTRY, key="ro_1/3/0"), THEN],
        actions={e.key: e.order for e in (ENTRY, replace(ENTRY, key="ro_1/3/0"), THEN)},
    ),
    "generation 1 after 2": lambda: _facts(
        journal=[ENTRY, replace(ENTRY, key="ro_1/2/9", generation=1, weight=50), THEN],
        actions={
            e.key: e.order for e in (ENTRY, THEN, replace(ENTRY, key="ro_1/2/9", generation=1, weight=50))
        },
    ),
    "did not all pass": lambda: _facts(
        steps=_steps(*(row if row[0] != 3 else (3, "R3", "baking") for row in STEPS))
    ),
    "R3 baked 0.50 s of 2 s": lambda: _facts(journal=[ENTRY, replace(THEN, began=10.5)]),
    "decided after the rollback": lambda: _rolled_back(
        ENTRY, RESTORED, replace(ENTRY, key="ro_1/4/0", weight=100, region="R1"), steps=BACK
    ),
    "the last order in R3": lambda: _rolled_back(RESTORED, ENTRY, steps=BACK),
    "a deploy after the restore": lambda: _rolled_back(
        RESTORED, replace(ENTRY, generation=3), replace(RESTORED, key="ro_1/3/5"), steps=BACK
    ),
    "and should be succeeded": lambda: _facts(rollouts={"ro_1": ("mail", "2.0.0", "held", 6)}),
    "and the database says": lambda: _facts(running={**RUNS, ("R1", "mail"): {"1.0.0": 4}}),
}


@pytest.mark.parametrize("says", WRONG)
def test_each_violation_is_found(says: str) -> None:
    assert any(says in line for line in violations(WRONG[says]())), violations(WRONG[says]())
