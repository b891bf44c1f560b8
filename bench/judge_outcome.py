"""What a judge said of many runs, in one shape, so that the measurements know no judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.judge_traffic import Arms, Array, Series
from rollout.core.signals import BaselineKind, SignalKind


@dataclass(frozen=True)
class Outcome:
    """Per run the minute of the first rollback, suspicion and pass (from 1, inf for none); needs by minute.

    `needs` [runs, minutes] is the candidate exposure that is said to be missing until a pass, nan where
    nothing is said.
    """

    failed: Array
    suspected: Array
    passed: Array
    needs: Array

    def split(self, parts: int) -> list["Outcome"]:
        """Of several cells that were judged together, each on its own; all have as many runs."""
        arrays = (np.split(each, parts) for each in (self.failed, self.suspected, self.passed, self.needs))
        return [Outcome(*each) for each in zip(*arrays, strict=True)]


class Judge(Protocol):
    """The product's judge, or a stand-in in tests."""

    def beside(self, kind: SignalKind, history: Arms, after: Arms, tolerance: float) -> Outcome:
        """Candidate beside baseline in one region."""

    def region(self, baseline: BaselineKind, series: Sequence[Series], tolerance: float) -> Outcome:
        """A whole region, the first of `series`; the last day of each is after the deploy."""
