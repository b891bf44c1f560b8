"""How the versions of the sample service behave, and that incident A keeps its pace."""

import math
from itertools import pairwise
from random import Random

import pytest

from rollout.demo.mail_versions import QUIET_S, UnknownVersion, behaviour_of, meets_expired_key_at

RESTART_S = 0.5  # the supervisor waits at least this long


def test_only_the_bad_version_signs_links() -> None:
    assert [v for v in ("1.0.0", "1.1.0", "1.2.0", "1.2.1") if behaviour_of(v).signs_links] == ["1.2.0"]


@pytest.mark.parametrize("fault", ["crash", "lie", "hang"])
def test_a_fault_is_named_after_the_version(fault: str) -> None:
    assert behaviour_of(f"1.1.0-{fault}").fault == fault


@pytest.mark.parametrize("version", ["9.9.9", "1.0.0-burns", "", "latest"])
def test_an_unknown_version_says_which_are_known(version: str) -> None:
    with pytest.raises(UnknownVersion, match=r"known: 1\.0\.0, 1\.1\.0"):
        behaviour_of(version)


def test_before_the_key_ends_no_process_stops() -> None:
    stops = [meets_expired_key_at(0.0, 45.0, str(slot), Random(slot)) for slot in range(1, 5)]
    assert min(stops) >= 45.0
    gaps = [after - before for before, after in pairwise(sorted(stops))]
    assert min(gaps) > 0.5  # not all at once


def test_afterwards_a_process_stops_again_and_again_and_never_soon_after_its_start() -> None:
    for seed in range(200):
        chance, started_at, stops = Random(seed), 100.0, []
        for _ in range(50):
            stops.append(meets_expired_key_at(started_at, 45.0, "3", chance))
            started_at = stops[-1] + RESTART_S
        gaps = [after - before for before, after in pairwise(stops)]
        assert min(gaps) >= QUIET_S[0] + RESTART_S
        assert max(gaps) <= QUIET_S[1] + RESTART_S
        assert math.isclose(sum(gaps) / len(gaps), sum(QUIET_S) / 2 + RESTART_S, rel_tol=0.1)
