"""From noted runs to figures with bounds, each beside its target of the judge's design where it has one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.judge_cells import PRODUCT, Cell, Notes
from bench.judge_numbers import median_bounds, share_bounds
from bench.judge_traffic import Array

ENOUGH = 1000  # runs that the target of false rollbacks asks for
NEED = "need within 2×"
YES, NO, OPEN = "yes", "no", "open"


@dataclass(frozen=True)
class Figure:
    """One measured number. `low` and `high` are one-sided 95 % bounds; `unit` is share, min, x or per_s.

    `reached` is yes or no when the bounds leave no doubt, open when more runs are needed to tell, and empty
    without a target.
    """

    measurement: str
    what: str
    cell: Cell
    judge: str
    unit: str
    value: float
    low: float
    high: float
    runs: int
    target: str = ""
    reached: str = ""


@dataclass(frozen=True)
class Target:
    """A limit, from above or below. Where `bound`, the bound decides as soon as there are enough runs."""

    limit: float
    at_most: bool = True
    bound: bool = False

    def said(self, unit: str) -> str:
        """As the table shows it."""
        number = f"{100 * self.limit:.3g}%" if unit == "share" else f"{self.limit:,.4g}"
        return ("≤" if self.at_most else "≥") + number + (" bound" if self.bound else "")

    def reached(self, low: float, high: float, runs: int) -> str:
        """yes, no, or open."""
        surely = high <= self.limit if self.at_most else low >= self.limit
        surely_not = low > self.limit if self.at_most else high < self.limit
        if surely:
            return YES
        return NO if surely_not or (self.bound and runs >= ENOUGH) else OPEN


FALSE_ROLLBACKS = Target(0.015, bound=True)
WRONG_PASSES = Target(0.05)
REGION_FALSE = Target(0.01)
REGION_CAUGHT = Target(0.5, at_most=False)
RESTART_FALSE = Target(0.01)
RESTART_DELAY = Target(80)
NEEDS_RIGHT = Target(0.9, at_most=False)
SPEED = Target(1e6, at_most=False)
NOISY_600 = {1.5: Target(90), 2.0: Target(30), 5.0: Target(7)}  # minutes
NEAR_FLOOR = 1.15


def figures(measurement: str, cell: Cell, notes: Notes) -> list[Figure]:
    """All figures of one cell."""
    return list(_OF[measurement](_Cell(measurement, cell, notes)))


@dataclass(frozen=True)
class _Cell:
    measurement: str
    cell: Cell
    notes: Notes

    def share(self, judge: str, what: str, hits: Array, target: Target | None = None) -> Figure:
        """The part of the runs in which something happened."""
        count, runs = int(hits.sum()), len(hits)
        low, high = share_bounds(count, runs)
        return self.figure(judge, what, "share", (count / max(runs, 1), low, high), runs, target)

    def median(
        self, judge: str, what: str, values: Array, target: Target | None = None, unit: str = "min"
    ) -> Figure:
        """The median over the runs, inf where most saw nothing."""
        low, high = median_bounds(values)
        middle = float(np.median(values)) if np.isfinite(values).all() else _middle(values)
        return self.figure(judge, what, unit, (middle, low, high), len(values), target)

    def each(self, what: str) -> Iterator[tuple[str, Array]]:
        """Every judge that noted this, the product first."""
        for judge, noted in self.notes.items():
            if what in noted:
                yield judge, noted[what]

    def figure(
        self,
        judge: str,
        what: str,
        unit: str,
        found: tuple[float, float, float],
        runs: int,
        target: Target | None,
    ) -> Figure:
        """`found` is value, low, high. Only the product has targets."""
        asked = target if judge == PRODUCT else None
        return Figure(
            self.measurement,
            what,
            self.cell,
            judge,
            unit,
            *found,
            runs,
            asked.said(unit) if asked else "",
            asked.reached(found[1], found[2], runs) if asked else "",
        )


def _unchanged(cell: _Cell) -> Iterator[Figure]:
    yield from _rolled_back(cell, FALSE_ROLLBACKS)
    ours = cell.notes[PRODUCT]
    yield cell.share(PRODUCT, "passes in 24 h", np.isfinite(ours["passed"]))
    yield cell.median(PRODUCT, "time to pass", ours["passed"])
    yield from _told_right(cell, ours["rest"], NEED, NEEDS_RIGHT)
    yield from _told_right(cell, ours["whole"], "whole need within 2×", None)
    silent = ours["silent"]
    yield cell.share(PRODUCT, "need unsaid", silent[~np.isnan(silent)] > 0)


def _told_right(cell: "_Cell", ratios: Array, what: str, target: Target | None) -> Iterator[Figure]:
    """Checkpoints of one run are no independent trials, so the bounds count runs."""
    told = ~np.isnan(ratios)
    runs = int(told.any(1).sum())
    if runs == 0:
        return
    right = ((ratios >= 0.5) & (ratios <= 2.0))[told].mean()
    low, high = share_bounds(round(right * runs), runs)
    yield cell.figure(PRODUCT, what, "share", (float(right), low, high), runs, target)


def _wrong_passes(cell: _Cell) -> Iterator[Figure]:
    for judge, passed in cell.each("passed"):
        yield cell.share(judge, "wrong passes", np.isfinite(passed), WRONG_PASSES)
    ours = cell.notes[PRODUCT]
    yield cell.share(PRODUCT, "before a rollback", ours["passed"] < ours["failed"])


def _delays(cell: _Cell) -> Iterator[Figure]:
    floor = cell.notes["floor"]["minutes"]
    yield cell.median("floor", "median delay", floor)
    for judge, failed in cell.each("failed"):
        yield cell.median(judge, "median delay", failed, _delay_target(cell.cell, floor))
    for judge, failed in cell.each("failed"):
        yield cell.median(judge, "delay over floor", failed / floor[: len(failed)], unit="x")
    for judge, failed in cell.each("failed"):
        yield cell.share(judge, "caught in 24 h", np.isfinite(failed))


def _delay_target(cell: Cell, floor: Array) -> Target | None:
    place = cell["noise"], cell["rpm"]
    if place == ("noisy", 600):
        return NOISY_600.get(cell["lift"])
    if place == ("clean", 60) and cell["lift"] == 2:
        return Target(NEAR_FLOOR * float(np.median(floor)))
    return None


def _restarts(cell: _Cell) -> Iterator[Figure]:
    if cell.cell["lift"] == 1:
        yield from _rolled_back(cell, RESTART_FALSE)
        return
    yield cell.median("floor", "median delay", cell.notes["floor"]["minutes"])
    asked = RESTART_DELAY if cell.cell == {"instances": 50, "lift": 5.0} else None
    for judge, failed in cell.each("failed"):
        yield cell.median(judge, "median delay", failed, asked)
    for judge, failed in cell.each("failed"):
        yield cell.share(judge, "caught in 24 h", np.isfinite(failed))


def _regions(cell: _Cell) -> Iterator[Figure]:
    if cell.cell["lift"] == 1:
        yield from _rolled_back(cell, REGION_FALSE)
        return
    asked = REGION_CAUGHT if cell.cell["lift"] == 2 else None
    ours = cell.notes[PRODUCT]
    for judge, failed in cell.each("failed"):
        yield cell.share(judge, "caught in 60 min", failed <= 60, asked)
    yield cell.share(PRODUCT, "or suspected in 60 min", np.minimum(ours["failed"], ours["suspected"]) <= 60)
    for judge, failed in cell.each("failed"):
        yield cell.median(judge, "median delay", failed)
    for judge, failed in cell.each("failed"):
        yield cell.share(judge, "caught in 24 h", np.isfinite(failed))


def _placebo(cell: _Cell) -> Iterator[Figure]:
    """A baseline may claim no better than 3/n with n placebo days, and acts alone only within the budget."""
    claim = Target(min(1.0, max(0.01, 3 / cell.cell["days"])))
    ours = cell.notes[PRODUCT]
    yield cell.share(PRODUCT, "false rollbacks", np.isfinite(ours["failed"]), REGION_FALSE)
    yield cell.share(PRODUCT, "suspected", np.isfinite(ours["suspected"]), claim)


def _rolled_back(cell: _Cell, target: Target) -> Iterator[Figure]:
    for judge, failed in cell.each("failed"):
        yield cell.share(judge, "false rollbacks", np.isfinite(failed), target)
    yield cell.share(PRODUCT, "suspected", np.isfinite(cell.notes[PRODUCT]["suspected"]))


def _middle(values: Array) -> float:
    """A median that knows inf: the upper of the two middle values."""
    return float(np.sort(values)[len(values) // 2]) if len(values) else math.nan


_OF = {
    "unchanged": _unchanged,
    "wrong-passes": _wrong_passes,
    "delays": _delays,
    "restarts": _restarts,
    "regions": _regions,
    "placebo": _placebo,
}
