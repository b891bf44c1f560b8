"""A rollout as text: what a person on call reads. Pure: view in, text out.

The sentences come from the server; here they are only put in order, with a sign and a colour each.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from rollout.core.reason import running, span

View = Mapping[str, Any]
_PHASES = {
    "succeeded": ("✔", "green"),
    "rolled_back": ("↩", "red"),
    "rolling_back": ("↩", "red"),
    "rollback_failed": ("✖", "bold red"),
    "rejected": ("✖", "yellow"),
    "canceled": ("–", "dim"),
    "superseded": ("–", "dim"),
    "awaiting_approval": ("?", "yellow"),
    "held": ("‖", "yellow"),
    "queued": ("○", "dim"),
    "passed": ("✔", "green"),
    "restoring": ("↩", "red"),
    "restored": ("↩", "yellow"),
    "unreachable": ("✖", "bold red"),
    "restore_failed": ("✖", "bold red"),
    "pending": ("○", "dim"),
}
_MOVING = ("◐", "cyan")
_VERDICTS = {
    "pass": ("✔", "green"),
    "fail": ("✖", "red"),
    "undecided": ("?", "yellow"),
    "no_data": ("∅", "yellow"),
}
_SUSPECTED = ("!", "yellow")
_STUCK = ("unreachable", "restore_failed")
_GOING_BACK = ("restoring", *_STUCK)
_KEY = 9  # columns of a key such as "blocked"


def status(view: View) -> Text:
    """State, why, who was reached, what next, then each region: failures in full, the undecided by name."""
    why = _pair("why", view["reason"]["text"])
    return _joined([headline(view), why, *_answers(view), *_regions(view, every=False), *_ends(view)])


def why(view: View) -> Text:
    """The reason, what speaks against it, whom else it may be due to, reach, next, and every check."""
    reason = view["reason"]
    lines = [headline(view), _pair("why", reason["text"])]
    if reason.get("since"):
        lines.append(_pair("since", moment(reason["since"])))
    if view.get("decided_at"):
        lines.append(_pair("decided", moment(view["decided_at"])))
    if view.get("against"):
        lines.append(_pair("against", view["against"]))
    lines += [_pair("suspect", f"{n}. {one['text']}") for n, one in enumerate(view.get("suspects", ()), 1)]
    return _joined([*lines, *_answers(view), *_regions(view, every=True), *_ends(view)])


def headline(view: View) -> Text:
    """The state in one sentence, with its sign."""
    sign, style = sign_of(view["phase"])
    return Text.assemble((f"{sign} ", style), (view["sentence"], "bold"))


def event(row: View, now: datetime) -> Text:
    """One line of history: time, with its date when not of the day of `now`; sign, place, move, reason."""
    sign, style = sign_of(row["to_phase"])
    place = f"{row['region']} " if row.get("region") else ""
    moves = [phase for phase in (row["from_phase"], row["to_phase"]) if phase]
    moved = f"{place}{' → '.join(moves)}  " if len(set(moves)) == len(moves) else ""  # else it stayed there
    return Text.assemble(
        (f"{clock(row['at'], now)} ", "dim"), (f"{sign} ", style), f"{moved}{row['reason']['text']}"
    )


def rollouts(page: View) -> Table | Text:
    """A page of rollouts, newest first."""
    if not page["items"]:
        return Text("No rollout.")
    rows = [
        (
            view["id"],
            view["service"],
            view["version"],
            _signed(view["phase"]),
            moment(view["since"]),
            Text(view["sentence"] + (" NEEDS YOU" if view["needs_person"] else "")),
        )
        for view in page["items"]
    ]
    return table(("ID", "SERVICE", "VERSION", "PHASE", "SINCE (UTC)", "STATE"), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Columns without lines, which also reads well in a file."""
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        found.add_column(head, overflow="fold")
    for row in rows:
        found.add_row(*row)
    return found


def replicas(page: Mapping[str, Any]) -> Table:
    """One line a controller; one that is gone holds nothing for long, and is listed for a day."""
    rows = [
        (
            one["id"],
            one["about"],
            Text("alive", "green")
            if one["alive"]
            else Text(f"gone: its lease ended at {moment(one['until'])} UTC", "red"),
            ", ".join(one["services"]) or "–",
        )
        for one in page["items"]
    ]
    return table(("REPLICA", "WHERE", "STATE", "WORKS ON"), rows)


def sign_of(phase: str) -> tuple[str, str]:
    """Sign and style of a phase of a rollout or of a region; what moves is ◐."""
    return _PHASES.get(phase, _MOVING)


def moment(text: str) -> str:
    """`2026-11-21T18:20:07Z` → `2026-11-21 18:20:07`; UTC, as everything here."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def clock(text: str, now: datetime) -> str:
    """The time of day of a moment, UTC; with its date when that is not the day of `now`."""
    at = datetime.fromisoformat(text)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else moment(text)


def _answers(view: View) -> list[Text]:
    """Reach, next, and what stands in the way: always in this order, after why."""
    lines = [_pair("reach", _reach(view["exposure"]))]
    coming = view["next"]
    if coming is None:
        lines.append(_pair("next", "Nothing more will happen."))
    else:
        at = f", {moment(coming['at'])} UTC" if coming.get("at") else ""
        lines.append(_pair("next", f"{coming['what']}{at}"))
    said = view["reason"]["text"]  # a hold repeats the reason
    return lines + [_pair("blocked", text) for text in view["blocked_by"] if said not in text]


def _reach(exposure: View) -> str:
    if not exposure["regions"]:
        return "nobody: no region was touched"
    share = f"{100 * exposure['traffic_share']:.3g} % of users"
    requests = f", {exposure['requests']} requests judged" if exposure["requests"] else ""
    return f"{', '.join(exposure['regions'])}; {share} for {span(exposure['duration_s'])}{requests}"


def _regions(view: View, *, every: bool) -> list[Text]:
    lines = []
    for region in (region for stage in view["stages"] for region in stage["regions"]):
        told = [check for check in region["checks"] if every or _alarming(check)]
        lines.append(_region(region))
        lines += [_check(check, noted=every) for check in told]
        waiting = (check for check in region["checks"] if check["verdict"] == "undecided")
        undecided = [check["title"] for check in waiting if check not in told]
        if undecided and not every:
            lines.append(_undecided(undecided))
    return lines


def _region(region: View) -> Text:
    sign, style = sign_of(region["phase"])
    parts = [region["phase"].replace("_", " ")]
    if region["phase"] in _STUCK:
        parts[0] += f" since {moment(region['since'])} UTC"
    if region["touched_at"]:
        parts.append(f"runs {_runs(region)}{_ordered(region)}")
    if region["bake"]:
        bake = region["bake"]
        left = " at most" if bake["until"] == "pass" else ""
        parts.append(f"baked {span(bake['elapsed_s'])} of {span(bake['planned_s'])}{left}")
    if region["message"]:
        parts.append(region["message"])
    return Text.assemble(f"  {region['region']}  ", (f"{sign} ", style), " · ".join(parts))


def _runs(region: View) -> str:
    """What was read there, with its counts, and when; the versions alone where nothing else is known."""
    if not region["running"]:
        return region["running_version"] or "unknown"
    read = f" (read {moment(region['running_at'])} UTC)" if region["running_at"] else ""
    return f"{running(region['running'])}{read}"


def _ordered(region: View) -> str:
    """What is ordered there now: the share of the release, or the whole region back."""
    if region["phase"] == "restored":
        return ""
    if region["phase"] not in _GOING_BACK:
        return f", {region['weight']} % ordered"
    return f", 100 % of {region['back_to']} ordered" if region["back_to"] else ""


def _alarming(check: View) -> bool:
    return check["verdict"] in ("fail", "no_data") or bool(check.get("suspected"))


def _check(check: View, *, noted: bool) -> Text:
    sign, style = _SUSPECTED if check.get("suspected") else _VERDICTS[check["verdict"]]
    needs = f" (needs {check['needs']})" if check["needs"] else ""
    facts = _facts(check) if noted else []
    remark = ("".join(f"\n        {fact}" for fact in facts), "dim")
    return Text.assemble("      ", (f"{sign} ", style), f"{check['text']}{needs}", remark)


def _facts(check: View) -> list[str]:
    """What the sentence does not say: the limit, what the promise rests on, and the judge's remark."""
    limit = check.get("limit_text", "") if check.get("limit") else ""
    numbers = [f"limit {limit}" if limit and f"limit {limit}" not in check["text"] else ""]
    numbers += [check.get("rests_words", ""), "" if check.get("critical", True) else "not critical"]
    facts = ["; ".join(filter(None, numbers))]
    note = check.get("note", "")
    return [fact for fact in (*facts, note if note not in check["text"] else "") if fact]


def _undecided(titles: Sequence[str]) -> Text:
    sign, style = _VERDICTS["undecided"]
    return Text.assemble("      ", (f"{sign} ", style), f"not decided yet: {', '.join(titles)}")


def _ends(view: View) -> list[Text]:
    """What is owed, what can be done, and how to name this rollout."""
    owed: dict[tuple[str, str, str], list[str]] = {}
    for one in view["obligations"]:
        if one["state"] in ("open", "overdue"):
            owed.setdefault((one["kind"], moment(one["until"]), one["state"]), []).append(one["region"])
    lines = [
        _pair("owed", f"{kind} in {', '.join(regions)} until {until} UTC ({state})")
        for (kind, until, state), regions in owed.items()
    ]
    if view["possible"]:
        effect = f" ({view['rollback_effect']})" if view["rollback_effect"] else ""
        lines.append(_pair("can do", ", ".join(view["possible"]) + effect))
    policy = view["policy"]
    name = f"{view['id']}, seen {view['row_version']}, policy {policy['name']}@{policy['revision']}, "
    begun = f"started {moment(view['created_at'])} UTC by {view['created_by']}"
    return [*lines, _pair("rollout", name + begun)]


def _pair(key: str, text: str) -> Text:
    return Text.assemble((f"  {key:<{_KEY}}", "dim"), text)


def _signed(phase: str) -> Text:
    sign, style = sign_of(phase)
    return Text(f"{sign} {phase}", style=style)


def _joined(lines: Iterable[Text]) -> Text:
    return Text("\n").join(lines)
