from pathlib import Path

import pytest
from pretend_plugins import PretendDeployer, PretendDeployerOptions, PretendSource, PretendSourceOptions

from rollout.registry import DEPLOYERS, SOURCES

REGIONS = """\
apiVersion: rollout/v1
regions:
  - name: R3
    title: APAC
    time_zone: Asia/Tokyo
    order: 1
    traffic_share: 0.4
    deployer: {kind: pretend, options: {directory: var/R3}}
    source: {kind: pretend}
  - name: R1
    title: Europe
    time_zone: Europe/Berlin
    order: 2
    traffic_share: 60%
    deployer:
      kind: pretend
      options: {directory: var/R1}
    source: {kind: pretend}
"""
SIGNALS = """\
apiVersion: rollout/v1
signals:
  errors:
    kind: ratio
    title: failed requests
    pretend: {metric: errors_total}
"""
POLICY = """\
apiVersion: rollout/v1
name: standard
steps:
  - set_weight: 25%
  - bake: 15m
  - set_weight: 90%
  - bake: {until: pass, min: 15m, max: 2h}
stages:
  - regions: [R3]
  - regions: [R1]
checks:
  - {signal: errors, tolerance: 2}
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small good configuration, with plugins that only check options."""
    monkeypatch.setitem(DEPLOYERS._kinds, "pretend", (PretendDeployerOptions, PretendDeployer))
    monkeypatch.setitem(SOURCES._kinds, "pretend", (PretendSourceOptions, PretendSource))
    (tmp_path / "policies").mkdir()
    (tmp_path / "regions.yaml").write_text(REGIONS)
    (tmp_path / "policies/signals.yaml").write_text(SIGNALS)
    (tmp_path / "policies/standard.yaml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def policy() -> str:
    """The text of a good policy."""
    return POLICY
