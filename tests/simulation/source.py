"""What the sources of the regions say, and what is true: how healthy each version really is."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any

from rollout.core.errors import TransientError
from rollout.core.signals import Sample
from rollout.ports import Ask, Reading
from tests.simulation.given import GOOD_BEFORE
from tests.simulation.knobs import BAD, LATE, SOMEWHERE, Knobs

SECOND, REQUESTS = 1.0, 50.0  # in each second
FINE, BROKEN = 0.0, 0.9  # share of requests that fail
FIRST = "1.1.0"


class Truth:
    """How healthy a version is in a region, now."""

    def __init__(self, knobs: Knobs, seconds: Callable[[], float], chance: Random) -> None:
        self._knobs, self._seconds = knobs, seconds
        self.bad_from = chance.uniform(8.0, 40.0)  # of a release that turns out bad late

    def failing(self, service: str, version: str, region: str) -> float:
        """The share of requests that fail."""
        if version != FIRST or service != "mail":
            return FINE
        kind = self._knobs.release
        bad = (
            kind == BAD
            or (kind == LATE and self._seconds() >= self.bad_from)
            or (kind == SOMEWHERE and region == self._knobs.worst)
        )
        return BROKEN if bad else FINE


class Source:
    """The source of one region as one process asks it. `wrong` names what is wrong with it now."""

    def __init__(
        self,
        region: str,
        truth: Truth,
        now: Callable[[], datetime] | None,
        wrong: Callable[[], frozenset[str]],
        reaches: Callable[[str], bool],
        pass_by: Callable[[str], Any],
    ) -> None:
        self._region, self._truth, self._now, self._wrong = region, truth, now, wrong
        self._reaches, self._pass_by = reaches, pass_by

    async def collect(self, ask: Ask) -> Reading:
        """Samples of the time since the last reading. Raises TransientError."""
        await self._pass_by("source")
        wrong = self._wrong()
        if "hang" in wrong:
            await asyncio.sleep(60.0)
        if "error" in wrong or not self._reaches(self._region):
            raise TransientError(f"The source of {self._region} answers 503.")
        if not ask.instances:
            raise TransientError(f"{self._region} reports no instance of {ask.service}.")
        now = self._now() if self._now else ask.now
        last = datetime.fromisoformat(ask.cursor["at"]) if "at" in ask.cursor else None
        if last is not None and now <= last:
            return Reading(samples=(), cursor=ask.cursor, problems=("It was read a moment ago.",))
        if "stale" in wrong and last is not None:
            return Reading(samples=self._samples(ask, last, SECOND, wrong), cursor=ask.cursor)
        passed = SECOND if last is None else min(10.0, (now - last).total_seconds())
        samples = () if "silent" in wrong else self._samples(ask, now, passed, wrong)
        return Reading(samples=samples, cursor={"at": now.isoformat()})

    def _samples(self, ask: Ask, end: datetime, passed: float, wrong: frozenset[str]) -> tuple[Sample, ...]:
        found = []
        for version in sorted({instance.version for instance in ask.instances}):
            if "half" in wrong and version != GOOD_BEFORE:
                continue
            for signal, (value, exposure) in self._numbers(ask.service, version, passed, wrong).items():
                found.append(
                    Sample(
                        time=end,
                        region=self._region,
                        version=version,
                        signal=signal,
                        value=value,
                        exposure=exposure,
                        duration_s=passed,
                    )
                )
        return tuple(found)

    def _numbers(
        self, service: str, version: str, passed: float, wrong: frozenset[str]
    ) -> Mapping[str, tuple[float, float]]:
        requests = REQUESTS * passed
        failing = self._truth.failing(service, version, self._region)
        if "labels" in wrong:  # the numbers of the version before are shown under every name
            failing = FINE
        if "spike" in wrong:
            failing = BROKEN
        if "nan" in wrong and version != GOOD_BEFORE:
            return {"errors": (float("nan"), float("nan")), "restarts": (float("nan"), passed)}
        return {
            "errors": (float(round(failing * requests)), float(round(requests))),
            "restarts": (0.0, 4 * passed / 3600),
        }
