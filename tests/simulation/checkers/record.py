"""What is written down: history without gaps, everything that was committed, and no secret in it."""

from collections.abc import Iterator

from rollout.core.model import Rollout, Transition
from tests.simulation.checkers.violation import Checker, Violation, at_end, broken
from tests.simulation.given import SECRET
from tests.simulation.history import Added, Committed, Happened, History, Logged, Told


def s13_history_has_no_gaps(history: History) -> Iterator[Violation]:
    """Rows are numbered 1, 2, 3 …; each begins where the one before it ended; phases are where rows end."""
    count: dict[str, int] = {}
    stands: dict[tuple[str, str], str] = {}
    for happened, what in history.of(Added, Committed):
        rollout = what.rollout if isinstance(what, Added) else what.change.rollout
        rows = (what.transition,) if isinstance(what, Added) else what.change.transitions
        for row in rows:
            count[rollout.id] = count.get(rollout.id, 0) + 1
            if row.number != count[rollout.id]:
                yield broken(
                    "S13", happened, f"{rollout.id} has row {row.number} as its {count[rollout.id]}th"
                )
            before = stands.get((rollout.id, row.region or ""))
            if before not in (None, row.from_phase):
                yield broken("S13", happened, f"{rollout.id} row {row.number} begins at {row.from_phase}")
            stands[rollout.id, row.region or ""] = row.to_phase
        yield from _unwritten(happened, rollout, stands)


def _unwritten(
    happened: Happened, rollout: Rollout, stands: dict[tuple[str, str], str]
) -> Iterator[Violation]:
    places = [("", str(rollout.phase)), *((r.region, str(r.phase)) for r in rollout.regions)]
    for place, phase in places:
        if stands.setdefault((rollout.id, place), phase) != phase:
            text = f"{rollout.id} {place} is {phase}, and its history ends at {stands[rollout.id, place]}"
            yield broken("S13", happened, text)


def s13_what_was_committed_is_there(history: History) -> Iterator[Violation]:
    """At the end the database has the rows that were committed, and no others."""
    if history.end is None:
        return
    written: list[Transition] = []
    for _, what in history.of(Added, Committed):
        written += [what.transition] if isinstance(what, Added) else what.change.transitions
    there = {(row.rollout_id, row.number): row.trigger for row in history.end.rows}
    expected = {(row.rollout_id, row.number): row.trigger for row in written}
    if there != expected or len(history.end.rows) != len(written):
        odd = sorted(set(there.items()) ^ set(expected.items()))[:5]
        text = f"{len(written)} rows were committed and {len(history.end.rows)} are there: {odd}"
        yield at_end("S13", history, text)


def s16_no_secret_is_told(history: History) -> Iterator[Violation]:
    """The options of plugins are in no notice, row or line of the log, and nothing that people are shown."""
    for happened, what in history.of(Told, Logged, Committed):
        if isinstance(what, Told):
            texts = [what.notice.text]
        elif isinstance(what, Logged):
            texts = [what.text]
        else:
            texts = [row.reason.text for row in what.change.transitions]
        if any(SECRET in text for text in texts):
            yield broken("S16", happened, f"a secret is in {type(what).__name__.lower()}")
    shown = history.end.waits.values() if history.end else ()
    if any(SECRET in " ".join((wait.sentence, wait.next, *wait.blocked_by)) for wait in shown):
        yield at_end("S16", history, "a secret is shown")


def u0_nothing_unforeseen_happens(history: History) -> Iterator[Violation]:
    """No error that nobody foresaw, an assertion of the product among them, is logged."""
    for happened, logged in history.of(Logged):
        if logged.level == "unforeseen":
            yield broken("U0", happened, f"{logged.by}: {logged.text}")


ALL: tuple[Checker, ...] = (
    s13_history_has_no_gaps,
    s13_what_was_committed_is_there,
    s16_no_secret_is_told,
    u0_nothing_unforeseen_happens,
)
