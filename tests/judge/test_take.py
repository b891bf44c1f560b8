"""From samples to evidence: what is taken in, what is junk, and that nothing else matters."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.judge import begin, hold_off, judge, of_this_form, update
from rollout.core.judge.samples import block_of
from rollout.core.signals import VerdictKind

from .traffic import NEW, OLD, START, a_plan, at, begun, demo, demo_plan, fed, noisy, sample, steady

PLAN = a_plan("errors", "restarts", "oldest_age")
GOOD = steady(5, (3.0, 600.0), (3.0, 600.0))

junk_numbers = st.sampled_from(
    [
        (math.nan, 10.0),
        (math.inf, math.inf),
        (-1.0, 10.0),
        (1.0, -5.0),
        (0.0, math.nan),
        ("3", 10.0),
        (True, 10.0),
        (None, 10.0),
        (10**400, 10**400),
    ]
)


@st.composite
def junk(draw):
    """A sample that must never be evidence, at any time and of any label."""
    time = draw(st.floats(1, 400))
    version = draw(st.sampled_from([OLD, NEW, "1.3.9", ""]))
    if version in {OLD, NEW}:
        return sample(time, version, *draw(junk_numbers))
    return sample(time, version, 0.0, 1000.0)


@given(rubbish=st.lists(junk(), max_size=40))
def test_junk_alone_never_passes_and_leaves_no_evidence(rubbish):
    evidence = fed(PLAN, begun(PLAN), rubbish)
    assert evidence.checks["errors"] == begun(PLAN).checks["errors"] | {"junk": len(rubbish)}
    said = judge(PLAN, {"R3": evidence}, at(400))
    assert VerdictKind.PASS not in {verdict.kind for verdict in said.verdicts}
    assert said.log_e == pytest.approx(0)


@settings(max_examples=50)
@given(rubbish=st.lists(st.tuples(st.integers(0, len(GOOD)), junk()), max_size=20))
def test_junk_between_good_samples_changes_nothing_but_its_count(rubbish):
    mixed = list(GOOD)
    for place, bad in sorted(rubbish, key=lambda pair: -pair[0]):
        mixed.insert(place, bad)
    clean, dirty = fed(PLAN, begun(PLAN), GOOD), fed(PLAN, begun(PLAN), mixed)
    assert dirty.checks["errors"] == clean.checks["errors"] | {"junk": len(rubbish)}


def test_a_value_that_is_no_number_is_junk_and_neither_0_nor_evidence():
    evidence = fed(PLAN, begun(PLAN), [sample(60, NEW, math.nan, 1000.0), sample(90, NEW, 1.0, math.nan)])
    assert evidence.checks["errors"] == begun(PLAN).checks["errors"] | {"junk": 2}


def test_a_version_that_is_neither_side_is_junk_however_healthy():
    evidence = fed(PLAN, begun(PLAN), [sample(60, "1.3.9", 0.0, 1000.0)])
    assert evidence.checks["errors"] == begun(PLAN).checks["errors"] | {"junk": 1}


def test_samples_are_taken_once_by_their_sequence_number():
    numbered = list(enumerate(GOOD, start=1))
    once = update(PLAN, begun(PLAN), numbered)
    assert update(PLAN, once, numbered) == once
    assert once.seen == len(GOOD)


def test_a_repeated_or_late_interval_is_junk():
    first = sample(60, NEW, 1.0, 100.0)
    evidence = fed(PLAN, begun(PLAN), [first, first, sample(30, NEW, 50.0, 100.0)])
    assert evidence.checks["errors"]["totals"] == [1.0, 100.0, 0.0, 0.0]
    assert evidence.checks["errors"]["junk"] == 2


def test_an_arm_that_lags_behind_a_closed_block_is_ignored():
    evidence = fed(PLAN, begun(PLAN), [sample(130, NEW, 1.0, 100.0), sample(60, OLD, 1.0, 100.0)])
    assert evidence.checks["errors"]["totals"] == [1.0, 100.0, 0.0, 0.0]


def test_another_region_and_an_unchecked_signal_are_no_evidence():
    foreign = [sample(60, NEW, 1.0, 100.0, region="R1"), sample(60, NEW, 1.0, 100.0, signal="latency")]
    evidence = fed(PLAN, begun(PLAN), foreign)
    assert evidence.checks["errors"]["totals"] == [0.0] * 4
    assert evidence.seen == 2


def test_samples_from_before_the_release_are_history_and_not_evidence():
    evidence = fed(PLAN, begun(PLAN), [sample(-60, NEW, 100.0, 100.0), sample(0, OLD, 0.0, 100.0)])
    assert evidence.checks["errors"] == begun(PLAN).checks["errors"]


def test_an_interval_belongs_to_the_block_that_it_fills():
    assert block_of(60.0, 60.0) == 0
    assert block_of(60.001, 60.0) == 1
    assert block_of(0.3, 0.1) == 2


def test_the_warm_up_is_not_judged():
    evidence = hold_off(begun(PLAN), at(120))
    evidence = fed(PLAN, evidence, GOOD)
    assert evidence.checks["errors"]["totals"] == [9.0, 1800.0, 9.0, 1800.0]


def test_begin_waits_for_the_warm_up_of_the_plan():
    plan = a_plan("errors", judging={"warmup": "90s"})
    evidence = begin(plan, region="R3", candidate=NEW, baseline=OLD, now=START, history=())
    assert evidence.judged_from == at(90)
    assert fed(plan, evidence, GOOD).checks["errors"]["totals"][1] == 1800.0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    minutes=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), min_size=2, max_size=20),
    seed=st.integers(0, 99),
)
def test_finer_samples_of_the_same_blocks_give_the_same_verdict(minutes, seed):
    rng = np.random.default_rng(seed)
    coarse, fine = [], []
    for minute, bad in enumerate(minutes):
        for version, x in zip((NEW, OLD), bad, strict=True):
            coarse.append(sample(60.0 * (minute + 1), version, float(x), 600.0))
            cuts = rng.multinomial(x, [1 / 6] * 6)
            fine += [
                sample(60.0 * minute + 10.0 * (k + 1), version, float(cuts[k]), 100.0, seconds=10.0)
                for k in range(6)
            ]
    fine.sort(key=lambda one: one.time)
    plan = a_plan("errors")
    said = [
        judge(plan, {"R3": fed(plan, begun(plan), samples)}, at(60.0 * len(minutes)))
        for samples in (coarse, fine)
    ]
    assert said[0].verdicts == said[1].verdicts
    assert said[0].log_e == pytest.approx(
        said[1].log_e, abs=1e-9
    )  # hours of gaps add up to the last bit but one


@pytest.mark.parametrize("cut", [1, 57, 300])
def test_evidence_that_went_through_json_gives_the_same_judgement_to_the_bit(cut):
    plan = demo_plan()
    rng = np.random.default_rng(3)
    every = list(demo(rng, 40, region="R3", history=60, harm=True))
    history = [one for one in every if one.time <= START]
    later = [one for one in every if one.time > START]
    straight = fed(plan, begun(plan, history), later)
    halfway = fed(plan, begun(plan, history), later[:cut])
    restored = replace(halfway, checks=json.loads(json.dumps(halfway.checks, allow_nan=False)))
    assert fed(plan, restored, later[cut:]) == straight
    assert judge(plan, {"R3": fed(plan, restored, later[cut:])}, at(40)) == judge(
        plan, {"R3": straight}, at(40)
    )


def test_the_state_does_not_grow_with_time():
    plan, rng = a_plan("errors"), np.random.default_rng(1)
    samples = noisy(rng, 400)
    short, long = (len(json.dumps(fed(plan, begun(plan), samples[:n]).checks)) for n in (40, 800))
    assert long < short * 1.2


def test_update_does_not_change_the_evidence_that_it_was_given():
    evidence = fed(PLAN, begun(PLAN), GOOD)
    before = json.dumps(evidence.checks)
    fed(PLAN, evidence, steady(5, (9.0, 600.0), (3.0, 600.0), first=5))
    assert json.dumps(evidence.checks) == before


def test_evidence_that_an_older_program_stored_is_told_from_what_can_be_gone_on_with():
    evidence = begun(PLAN)
    assert of_this_form(evidence)
    assert not of_this_form(replace(evidence, checks={"errors": {"phi": 1.0, "logs": {}}}))
