"""Judged and backtested releases as text. Pure: view in, text out."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from rollout.cli import render
from rollout.core.reason import span

View = Mapping[str, Any]
SIGNS = {
    "pass": ("✔", "green"),
    "fail": ("✖", "red"),
    "undecided": ("?", "yellow"),
    "no_data": ("∅", "yellow"),
    "promoted": ("✔", "green"),
    "rolled_back": ("↩", "red"),
    "held": ("‖", "yellow"),
    "unfinished": ("…", "dim"),
}
_SHOWN_CHANGES = 40  # lines; JSON has them all


def judged(view: View) -> RenderableType:
    """Each change of verdict, the final table, what would have been done, and what to know about it."""
    names = f"{view['candidate']} against {view['baseline'] or 'no baseline'}"
    head = Text(
        f"{view['service']}: {names}, policy {view['policy']}. Nothing was done; times are UTC.", style="bold"
    )
    return Group(head, *_changes(view), _checks(view), *_done(view), *_remarks(view))


def backtested(view: View) -> RenderableType:
    """A line for each release, then the figures, then what went against its label."""
    rows = [_row(release) for release in view["releases"]]
    heads = ("RELEASE", "DEPLOYED (UTC)", "LABEL", "WOULD HAVE", "AFTER", "WHY")
    return Group(render.table(heads, rows), *_figures(view["score"]), *_errors(view))


def _changes(view: View) -> Iterator[Text]:
    shown = view["changes"]
    left = len(shown) - _SHOWN_CHANGES
    if left > 0:
        shown = [*shown[: _SHOWN_CHANGES // 2], *shown[-_SHOWN_CHANGES // 2 :]]
    for place, change in enumerate(shown):
        if left > 0 and place == _SHOWN_CHANGES // 2:
            yield Text(f"  … {left + view['more_changes']} more changes; --json has them", style="dim")
        sign, style = SIGNS[change["verdict"]]
        moved = f"{_word(change['from'])} → {_word(change['verdict'])}"
        yield Text.assemble(
            (f"  {render.moment(change['at'])} ", "dim"), (f"{sign} ", style), f"{moved}  {change['text']}"
        )


def _checks(view: View) -> RenderableType:
    rows = [
        (
            check["region"],
            check["signal"],
            _signed(check["verdict"]),
            check["value_text"],
            check["baseline_text"],
            _interval(check),
            check["needs"] or "–",
            check["rests_on"],
        )
        for check in view["checks"]
    ]
    heads = ("REGION", "CHECK", "VERDICT", "VALUE", "BASELINE", "TIMES THE BASELINE", "NEEDS", "RESTS ON")
    return render.table(heads, rows)


def _interval(check: View) -> str:
    if check["low"] is None and check["high"] is None:
        return "–"
    high = "?" if check["high"] is None else f"{check['high']:.3g}"
    return f"{check['low'] or 0:.3g} to {high}"


def _done(view: View) -> Iterator[Text]:
    """What people would have seen, in order, and what stands at the end."""
    for act in view["acts"]:
        sign, style = SIGNS.get(act["what"], ("!", "yellow"))
        what = f"{_ACTS[act['what']]} at {render.moment(act['at'])}"
        yield Text.assemble(
            (f"{sign} ", style), (what, "bold"), f", {_after(view, act['at'])}: {act['text']}"
        )
    if view["outcome"] == "unfinished":
        yield Text.assemble(
            ("… ", "dim"),
            f"Nothing would have been done by {render.moment(view['judged_until'])}, "
            "where the samples end; its bakes were not over.",
        )
    elif view["watch"]:
        yield Text(f"  watch: {view['watch'].replace('_', ' ')} at {render.moment(view['judged_until'])}")


def _after(view: View, at: str) -> str:
    began = min(datetime.fromisoformat(time) for time in view["deploys"].values())
    return f"{_span(datetime.fromisoformat(at) - began)} after the first deploy"


def _remarks(view: View) -> Iterator[Text]:
    for note in view["notes"]:
        yield Text.assemble(("  ! ", "yellow"), note)
    for one in view["unusable"]:
        line = f", first in line {one['first_line']}" if one["first_line"] else ""
        yield Text.assemble(("  ! ", "yellow"), f"{one['rows']} rows were passed over: {one['reason']}{line}")
    for path in view["plots"]:
        yield Text(f"  plot: {path}", style="dim")


def _row(release: View) -> tuple[str | Text, ...]:
    began = min(release["deploys"].values())
    label = release["label"] or "–"
    if release["problem"]:
        return (
            _name(release),
            render.moment(began),
            label,
            Text("✖ not judged", style="yellow"),
            "–",
            release["problem"],
        )
    delay = "–" if release["delay_s"] is None else span(release["delay_s"])
    marked = Text(label, style="bold red") if release["wrong"] else label
    return (
        _name(release),
        render.moment(began),
        marked,
        _signed(release["outcome"]),
        delay,
        release["reason"] or "",
    )


def _name(release: View) -> str:
    return f"{release['service']} {release['version'] or release['candidate'] or ''}".strip()


def _figures(score: View) -> Iterator[Text]:
    done = ", ".join(f"{count} {_word(name)}" for name, count in score["outcomes"].items() if count)
    missed = f", {score['not_judged']} not judged" if score["not_judged"] else ""
    yield Text(f"\n{score['releases']} releases, {score['labelled']} labelled: {done}{missed}.", style="bold")
    if not score["labelled"]:
        return
    yield _ratios("rollback counts", score["rollback"])
    yield _ratios("rollback, hold or page counts", score["rollback_or_hold"])
    if score["false_per_hundred"] is not None:
        parts = f"{_bounded(score, 'false_per_hundred')} in 100 harmless releases"
        days = f"{_bounded(score, 'false_days')} a day of judging them, over {score['good_days']:.3g} days"
        yield Text(f"  false rollbacks  {parts}; {days} (bounds: 95 %)")
    delay = "–" if score["median_delay_s"] is None else span(score["median_delay_s"])
    yield Text(f"  holds            {score['held']}, of them {score['held_good']} of harmless releases")
    yield Text(
        f"  median delay     {delay} from the harm, or the deploy where that is not known, to the rollback"
    )


def _bounded(score: View, key: str) -> str:
    most = score[f"{key}_at_most"]
    return "–" if score[key] is None else f"{score[key]:.3g} (at most {most:.3g})"


def _ratios(name: str, count: View) -> Text:
    shown = {key: "–" if count[key] is None else f"{count[key]:.3f}" for key in ("precision", "recall", "f1")}
    numbers = (
        f"{count['true_positives']} right, {count['false_positives']} false, "
        f"{count['false_negatives']} missed, {count['true_negatives']} rightly let through"
    )
    ratios = f"F1 {shown['f1']}  precision {shown['precision']}  recall {shown['recall']}"
    return Text(f"  {ratios}  ({name}: {numbers})")


def _errors(view: View) -> Iterator[Text]:
    for place in view["errors"]:
        release = view["releases"][place]
        what = f"{_name(release)} is {release['label']} and would have been {_word(release['outcome'])}"
        yield Text.assemble(
            ("✖ ", "red"), f"{what}: {release['reason'] or 'the samples end before its bakes do'}"
        )
        for path in release["plots"]:
            yield Text(f"    {path}", style="dim")


def _signed(word: str) -> Text:
    sign, style = SIGNS[word]
    return Text(f"{sign} {_word(word)}", style=style)


def _word(word: str) -> str:
    return word.replace("_", " ")


def _span(time: timedelta) -> str:
    return span(time.total_seconds())


_ACTS = {
    "rolled_back": "Would have rolled back",
    "held": "Would have held, and paged",
    "promoted": "Would have promoted",
    "paged": "Would have paged",
}
