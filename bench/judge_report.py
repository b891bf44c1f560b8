"""Figures as a table for people and as JSON.

What must not live here: measuring, and what counts as reached.
"""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench.judge_cells import PRODUCT, Cell
from bench.judge_figures import NEED, NO, OPEN, YES, Figure
from bench.judge_numbers import need_ceiling, share_bounds

ONLY_IN_JSON = (
    "e plain",
    "e tempered",
    "own last hour",
    "own yesterday",
    "before a rollback",
)  # the table is wide enough

WRONG = 0.05  # passes, as promised


def table(figures: Sequence[Figure], titles: dict[str, str]) -> str:
    """A line for each cell: a table for what anchors have too, one for all else of the product."""
    lines: list[str] = []
    for measurement, found in _groups(figures, lambda one: one.measurement):
        compared = {one.what for one in found if one.judge != PRODUCT}
        for what, of_what in _groups([one for one in found if one.what in compared], lambda one: one.what):
            lines += _block(f"{titles.get(measurement, measurement)}: {what}", of_what, _by_judge)
        own = [one for one in found if one.what not in compared and one.what not in ONLY_IN_JSON]
        lines += _block(f"{titles.get(measurement, measurement)}: the product alone", own, _by_figure)
    return "\n".join(lines)


def summary(figures: Sequence[Figure]) -> str:
    """For each target: how many cells reach it, the worst of them, and the share in all of them together."""
    lines = [
        "",
        "## targets: cells that reach them, that do not, with too few runs to tell; the worst cell; all",
    ]
    asked = [one for one in figures if one.target]
    for (measurement, what, target), found in _groups(
        asked, lambda one: (one.measurement, one.what, one.target)
    ):
        counts = "{:3} yes {:3} no {:3} open".format(
            *(sum(one.reached == word for one in found) for word in (YES, NO, OPEN))
        )
        worst = min(found, key=_goodness)
        said = f"{measurement}: {what} {target}"
        place = f"{number(worst)}  {label(worst.cell)}"
        lines.append(f"{said:46} {counts}   {place:50} {_together(found)}".rstrip())
    if any(one.what == NEED for one in asked):
        lines.append(
            f"{NEED}: {100 * need_ceiling(WRONG):.0f}% is the most that any saying reaches at the start"
        )
    return "\n".join(lines)


def as_json(figures: Iterable[Figure], meta: dict[str, Any]) -> str:
    """`{"meta": …, "figures": […]}`, a figure a line; inf is "inf", nan null, empty left out."""
    lines = (json.dumps(_plain(one), ensure_ascii=False) for one in figures)
    return f'{{"meta": {json.dumps(meta)},\n"figures": [\n' + ",\n".join(lines) + "\n]}\n"


def number(figure: Figure) -> str:
    """A value with the bound that matters: `0.3% ≤1.1%`, `36 min`."""
    if figure.unit != "share" and not figure.target:
        return _short(figure, figure.value)
    below = figure.target.startswith("≥")
    bound = "≥" + _short(figure, figure.low) if below else "≤" + _short(figure, figure.high)
    return f"{_short(figure, figure.value)} {bound}"


def label(cell: Cell) -> str:
    """`noisy 600/min share 5%`."""
    said: dict[str, Callable[[Any], str]] = {
        "rpm": lambda value: f"{value}/min",
        "share": lambda value: f"share {100 * value:g}%",
        "lift": lambda value: f"×{value:g}",
        "days": lambda value: f"{value} days",
        "instances": lambda value: f"{value} instances",
    }
    return " ".join(said.get(name, str)(value) for name, value in cell.items())


def _block(
    title: str, found: Sequence[Figure], columns: Callable[[list[Figure]], dict[str, str]]
) -> list[str]:
    """Nothing where there are no figures."""
    rows = {name: columns(of_cell) for name, of_cell in _groups(found, lambda one: label(one.cell))}
    every = dict.fromkeys(head for row in rows.values() for head in row)
    heads = [head for head in every if any(row.get(head) for row in rows.values())]
    if not heads:
        return []
    widths = {head: max(len(head), *(len(row.get(head, "")) for row in rows.values())) for head in heads}
    first = max(len(name) for name in rows)

    def line(name: str, row: dict[str, str]) -> str:
        return f"{name:{first}}" + "".join(f"  {row.get(head, ''):>{widths[head]}}" for head in heads)

    return [
        "",
        f"## {title}",
        line("", {head: head for head in heads}),
        *(line(*row) for row in rows.items()),
    ]


def _by_judge(of_cell: list[Figure]) -> dict[str, str]:
    """The product with its target, then the anchors."""
    found = {PRODUCT: "", "target": "", "reached": ""}
    for one in of_cell:
        if one.judge == PRODUCT:
            found |= {PRODUCT: number(one), "target": one.target, "reached": one.reached}
        elif one.judge not in ONLY_IN_JSON:
            found[one.judge] = _short(one, one.value)
    return found


def _by_figure(of_cell: list[Figure]) -> dict[str, str]:
    return {one.what: " ".join(filter(None, (number(one), one.target, one.reached))) for one in of_cell}


def _short(figure: Figure, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if figure.unit == "share":
        return f"{100 * value:.1f}%"
    return f"{value:.2f}" if figure.unit in {"x", "ms"} else f"{value:,.0f}"


def _together(found: Sequence[Figure]) -> str:
    """Of shares in several cells; their runs are independent."""
    if len(found) < 2 or found[0].unit != "share":
        return ""
    runs = sum(one.runs for one in found)
    hits = sum(round(one.value * one.runs) for one in found)
    low, high = share_bounds(hits, runs)
    return "all " + number(replace(found[0], value=hits / runs, low=low, high=high, runs=runs))


def _goodness(figure: Figure) -> float:
    """Greater is better."""
    return figure.value if figure.target.startswith("≥") else -figure.value


def _plain(figure: Figure) -> dict[str, Any]:
    return {name: _exact(value) for name, value in asdict(figure).items() if value != ""}


def _exact(value: Any) -> Any:
    """Six digits are more than any run is sure of."""
    if not isinstance(value, float):
        return value
    if math.isfinite(value):
        return float(f"{value:.6g}")
    return None if math.isnan(value) else str(value)


def _groups(
    figures: Iterable[Figure], key: Callable[[Figure], Hashable]
) -> Iterator[tuple[Any, list[Figure]]]:
    """Of equal keys, in the order in which each came first."""
    found: dict[Hashable, list[Figure]] = {}
    for one in figures:
        found.setdefault(key(one), []).append(one)
    yield from found.items()
