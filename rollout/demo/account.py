"""What the demo showed, in figures, and whether each thing that it tells is true."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollout.demo.world import INSTANCES, REGIONS, Totals
from rollout.supervisor.files import Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything that was read at the end."""

    good: Mapping[str, Any]
    bad: Mapping[str, Any]
    running: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]  # of the bad release
    exits: Mapping[str, Sequence[Exit]]
    totals: Mapping[str, Totals]
    sent: Mapping[str, Mapping[str, int]]

    @property
    def true(self) -> bool:
        """Whether everything that was told is true."""
        return all(holds for _, holds in self.claims())

    # ------------------------------------------------------------------ figures

    @property
    def harm_at(self) -> datetime | None:
        """When the first process of the bad release stopped."""
        version = self.bad["version"]
        return min((e.at for es in self.exits.values() for e in es if e.version == version), default=None)

    @property
    def decided_at(self) -> datetime | None:
        """When going back was decided."""
        return _time(self.bad["decided_at"])

    @property
    def restored_at(self) -> datetime | None:
        """When the last region was read back."""
        times = [at for region in self.regions(self.bad) if (at := _time(region["restored_at"]))]
        return max(times, default=None)

    @property
    def requests_exposed(self) -> int:
        """Requests that the bad release answered while it was judged."""
        return int(self.bad["exposure"]["requests"])

    @property
    def delayed(self) -> int:
        """Sends that crossed their age limit unfinished."""
        return sum(one.late for one in self.totals.values())

    @property
    def resumed(self) -> int:
        """Stalled sends that the recovery resumed."""
        return sum(int(owed["progress"].get("resumed", 0)) for owed in self.bad["obligations"])

    @property
    def lost(self) -> int:
        """Sends that users were told are accepted and that were not delivered."""
        accepted = sum(row["accepted"] for row in self.sent.values())
        return max(
            accepted - self.delivered, sum(one.accepted for one in self.totals.values()) - self.delivered
        )

    @property
    def broken(self) -> int:
        """Connections that a process cut by stopping, before it answered."""
        return sum(row["broken"] for row in self.sent.values())

    @property
    def delivered(self) -> int:
        """Distinct sends that were delivered."""
        return sum(one.delivered for one in self.totals.values())

    @staticmethod
    def regions(view: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """All regions of a rollout in the order of its plan."""
        return [region for stage in view["stages"] for region in stage["regions"]]

    # ------------------------------------------------------------------ claims

    def claims(self) -> list[tuple[str, bool]]:
        """Each sentence with whether it holds."""
        good, bad = self.good, self.bad
        reached = {r["region"] for r in self.regions(bad) if r["touched_at"]}
        last = list(REGIONS)[-1]
        culprits = {place.partition("/")[2] for place in bad["reason"]["evidence"]}
        back = {row["region"]: row["running"] for row in self.running["items"]}
        owed = bad["obligations"]
        in_order = [r["passed_at"] for r in self.regions(good)]
        return [
            (f"{good['version']} passed {' → '.join(REGIONS)} and its watch", _promoted(good, in_order)),
            (
                f"{bad['version']} passed its bake in R3 and reached R1",
                self._passed_r3() and "R1" in reached,
            ),
            (f"{bad['version']} never reached {last}", last not in reached),
            (
                "the judge saw restarts and age of work rise, and decided by no hard guard",
                _judged(bad, culprits),
            ),
            ("every HTTP answer stayed 202", all(row["failed"] == 0 for row in self.sent.values())),
            (
                f"every region was read back on {good['version']}",
                bad["phase"] == "rolled_back"
                and all(back.get(name) == {good["version"]: INSTANCES} for name in REGIONS),
            ),
            (
                "stalled sends were resumed and the backlog is back to normal",
                bool(owed) and all(o["state"] == "met" for o in owed) and self.resumed > 0,
            ),
            ("no send was lost", self.lost == 0 and self.delivered > 0),
            ("no send was delivered twice", all(one.duplicates == 0 for one in self.totals.values())),
        ]

    def _passed_r3(self) -> bool:
        return any(e["region"] == "R3" and e["to_phase"] == "passed" for e in self.events)


def _promoted(view: Mapping[str, Any], passed: Sequence[str | None]) -> bool:
    times = [at for at in passed if at]
    watched = all(owed["state"] == "met" for owed in view["obligations"])
    return (
        view["outcome"] == "promoted"
        and len(times) == len(REGIONS)
        and times == sorted(times)
        and watched
        and bool(view["obligations"])
    )


def _judged(view: Mapping[str, Any], culprits: set[str]) -> bool:
    """No guard fired, one of the two is to blame, and each rose with evidence of 3 to 1 or more."""
    checks = [check for region in Account.regions(view) for check in region["checks"]]
    risen = {check["signal"] for check in checks if check["log_e"] >= math.log(3)}
    seen = {"restarts", "work_age"}
    return view["reason"]["code"] == "check.harm" and bool(culprits & seen) and seen <= risen


def _time(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None
