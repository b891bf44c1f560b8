"""A service may say what a signal means for it; what it says is checked as the files are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rollout.config import load_configuration
from rollout.core.errors import InvalidInput
from rollout.core.model import Service
from rollout.core.signals import Signal

OWN = {"kind": "ratio", "title": "failed calls", "pretend": {"metric": "calls_failed"}}


def meanings(directory: Path, signals: Mapping[str, Any]) -> dict[str, Signal]:
    service = Service(name="mail-sender", policy="standard", signals=signals)
    return load_configuration(directory).signals_for(service)


def test_a_service_without_meanings_of_its_own_has_those_of_the_files(directory: Path) -> None:
    assert meanings(directory, {}) == dict(load_configuration(directory).signals)


def test_a_service_replaces_one_meaning_and_adds_another(directory: Path) -> None:
    found = meanings(directory, {"errors": OWN, "timeouts": OWN})
    assert found["errors"].sources == {"pretend": {"metric": "calls_failed"}}
    assert found["timeouts"].title == "failed calls"


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"errors": {"title": "x"}}, "/signals/errors/kind: is missing; add it"),
        ({"errors": {**OWN, "prom": {}}}, "/signals/errors/prom: unknown key 'prom'"),
        ({"errors": {**OWN, "pretend": {}}}, "/signals/errors/pretend/metric: is missing; add it"),
        ({"errors": 5}, "/signals/errors: must be a mapping"),
    ],
)
def test_a_meaning_that_cannot_be_used_is_refused_with_its_pointer(
    directory: Path, signals: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        meanings(directory, signals)
    assert [str(problem).startswith(said) for problem in caught.value.problems] == [True]
