"""A policy that checks what cannot be read is refused where it is written, and where a rollout starts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.commands import compile_for
from rollout.config import Configuration, load_configuration
from rollout.core.errors import InvalidInput
from rollout.core.model import Plugin, Service

ROOT = Path(__file__).parents[2]
PROMETHEUS: Mapping[str, Any] = {"url": "http://engine.test", "settle_s": 45}


def shipped(kind: str) -> Configuration:
    """What is shipped, with every region read by one kind of source."""
    found = load_configuration(ROOT)
    source = Plugin(kind=kind, options=PROMETHEUS if kind == "prometheus" else {})
    regions = {name: replace(region, source=source) for name, region in found.regions.items()}
    return replace(found, regions=regions)


@pytest.mark.parametrize("kind", ["scrape", "prometheus"])
@pytest.mark.parametrize("policy", ["standard", "careful", "emergency"])
def test_each_shipped_policy_works_on_either_source(kind: str, policy: str) -> None:
    plan = compile_for(shipped(kind), Service(name="mail", policy=policy), policy)
    assert all(kind in plan.signals[check.signal].sources for check in plan.checks)


def test_a_service_whose_own_signal_has_no_form_for_its_source_cannot_start() -> None:
    own = {"errors": {"kind": "ratio", "title": "failed", "scrape": {"bad": "b_total", "total": "a_total"}}}
    with pytest.raises(InvalidInput, match=r"checks\.0\.signal: 'errors' means nothing to the source 'prom"):
        compile_for(shipped("prometheus"), Service(name="mail", policy="standard", signals=own), "standard")


def test_a_policy_that_names_a_missing_signal_cannot_start_and_the_nearest_is_offered() -> None:
    found = shipped("scrape")
    less = replace(found, signals={"errs": found.signals["errors"], **{
        name: one for name, one in found.signals.items() if name != "errors"
    }})  # fmt: skip
    with pytest.raises(InvalidInput, match=r"unknown signal 'errors'; did you mean 'errs'\?"):
        compile_for(less, Service(name="mail", policy="standard"), "standard")


def test_a_region_knows_how_late_its_source_tells(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    for file in ("policies/signals.yaml", "policies/standard.yaml"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    text = (ROOT / "regions.yaml").read_text()
    assert load_configuration(ROOT).regions["R3"].delay_s == 0
    options = "{kind: prometheus, options: {url: 'http://engine.test', settle_s: 45}}"
    changed = text.replace("source:\n      kind: scrape\n", f"source: {options}\n")
    assert changed != text
    (tmp_path / "regions.yaml").write_text(changed)
    assert load_configuration(tmp_path).regions["R3"].delay_s == 45
