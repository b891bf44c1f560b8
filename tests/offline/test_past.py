"""Samples out of a live source's history: what is asked for, and that it is judged as a file is."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput, TransientError
from rollout.core.model import Plugin, Region
from rollout.core.signals import Sample
from rollout.offline.backtest import Rules, judge_file, judge_release
from rollout.offline.past import Remembered, remembered
from rollout.offline.samples import SamplesFile
from rollout.offline.survey import survey
from rollout.ports import Past
from tests.offline.recorded import DEPLOY, a_policy, a_release, beside, minutes, write

LATER = DEPLOY + timedelta(days=3)


@dataclass
class Memory:
    """A source that remembers what a file says."""

    path: Path
    fails: bool = False
    asked: list[Past] = field(default_factory=list)

    async def history(self, past: Past) -> tuple[Sample, ...]:
        self.asked.append(past)
        if self.fails:
            raise TransientError("the source does not answer.")
        return tuple(
            Sample(
                time=row.time,
                region=row.region,
                version=row.version,
                signal=row.signal,
                value=row.value,
                exposure=row.exposure,
                duration_s=60.0,
            )
            for row in SamplesFile(self.path)
            if row.region == past.region and past.since < row.time <= past.until
        )


def regions(*names: str) -> dict[str, Region]:
    none = Plugin(kind="none")
    return {
        name: Region(
            name=name, title=name, time_zone="UTC", order=1, traffic_share=1, deployer=none, source=none
        )
        for name in names
    }


async def asked(source: Memory, *names: str, now: object = LATER) -> Remembered:
    known = dict.fromkeys(names, source)
    return await remembered(
        known,
        a_release("", {"R3": 0}),
        a_policy(),
        regions=regions("R1", "R2", "R3"),
        signals={},
        now=now,  # type: ignore[arg-type]
    )


async def test_every_region_of_the_policy_is_asked_for_two_weeks_before_and_all_that_is_judged(
    tmp_path: Path,
):
    source = Memory(write(tmp_path / "s.csv", minutes(beside(), last=5, regions=("R3", "R1"))))
    found = await asked(source, "R3", "R1", "R2")
    assert sorted(past.region for past in source.asked) == ["R1", "R2", "R3"]
    past = source.asked[0]
    assert (past.service, past.interval_s) == ("mail", 60.0)
    assert past.since == DEPLOY - timedelta(days=14)
    assert past.until >= DEPLOY + timedelta(hours=2)
    assert [signal.name for signal in past.signals] == ["errors"]
    times = [row.time for row in found]
    assert times == sorted(times)
    assert list(found) == list(found)  # is read twice


async def test_what_a_source_remembers_is_judged_as_the_same_file_is(tmp_path: Path):
    path = write(tmp_path / "s.csv", minutes(beside(5.0)))
    found = await asked(Memory(path), "R3")
    rules, release = Rules(policy=a_policy()), a_release(path)
    one, other = judge_release(rules, release, found, survey(found)), judge_file(rules, release, path)
    assert one.trial is not None
    assert other.trial is not None
    assert one.trial.outcome == "rolled_back"
    assert one.trial.judgement == other.trial.judgement


async def test_nothing_of_the_future_is_asked_for(tmp_path: Path):
    source = Memory(write(tmp_path / "s.csv", minutes(beside(), last=5)))
    await asked(source, "R3", now=DEPLOY + timedelta(minutes=9))
    assert source.asked[0].until == DEPLOY + timedelta(minutes=9)


async def test_a_region_without_a_history_and_a_source_that_kept_nothing_are_said(tmp_path: Path):
    source = Memory(write(tmp_path / "s.csv", minutes(beside(), last=5)))
    with pytest.raises(InvalidInput, match=r"R3 has no source with a history here; those that have: R1\."):
        await asked(source, "R1")
    with pytest.raises(InvalidInput, match=r"The sources of R3 kept nothing of mail"):
        await asked(source, "R3", now=DEPLOY - timedelta(days=13))
    with pytest.raises(TransientError):
        await asked(Memory(source.path, fails=True), "R3")
