"""Run one seed, and say what was wrong. The same seed is the same run: nothing here asks the real world.

What must not live here: pytest, or how results are printed (__main__.py).
"""

import gc
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from rollout import ids
from tests.simulation import history, trace
from tests.simulation.checkers import Violation, check
from tests.simulation.given import template
from tests.simulation.history import History
from tests.simulation.knobs import Knobs, draw
from tests.simulation.loop import CURRENT, Stuck, VirtualLoop
from tests.simulation.play import Play

REFUSED = "promise would be broken"  # the product stops itself; it decided wrongly all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one seed. `reached` counts what happened in it, `digest` is of all that happened."""

    seed: int
    violations: tuple[Violation, ...]
    digest: str
    reached: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0  # virtual
    history: History | None = None


def run(seed: int, *, knobs: Knobs | None = None, keep: bool = False) -> Result:
    """Play one seed to its end. `keep` brings the history along."""
    knobs = knobs or draw(seed)
    loop = VirtualLoop()
    with _no_chance(0), _listening():
        template(knobs.services)  # made by the first run that needs it, and no part of that run
    with _no_chance(seed), _listening() as heard:
        gc.disable()
        try:
            played, crashed = _played(loop, knobs, heard)
        finally:
            loop.close()
            gc.enable()
    violations = (*check(played), *crashed)
    return Result(
        seed=seed,
        violations=violations,
        digest=hashlib.sha256("\n".join(trace.lines(played)).encode()).hexdigest(),
        reached=trace.reached(played),
        seconds=loop.time(),
        history=played if keep else None,
    )


def _played(loop: VirtualLoop, knobs: Knobs, heard: "_Ear") -> tuple[History, Sequence[Violation]]:
    play = Play(loop, knobs)
    heard.play = play
    loop.set_exception_handler(lambda _, about: play.note(_forgotten(about)))
    crashed: list[Violation] = []
    try:
        loop.run_until_complete(play.go())
    except Stuck:
        crashed.append(Violation(check="L0", at=loop.time(), text="nothing is left to happen, and it waits"))
    heard.play = None
    loop.run_until_complete(play.close())
    return play.history, crashed


def _forgotten(about: Mapping[str, Any]) -> history.Logged:
    """What asyncio says of errors that nobody asked for."""
    return history.Logged(
        by="asyncio", level="forgotten", text=f"{about['message']}: {about.get('exception')!r}"
    )


class _Seeded:
    """Stands in for `secrets` where ids are made."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"ids/{seed}")

    def choice(self, letters: Sequence[str]) -> str:
        return self._chance.choice(letters)


@contextmanager
def _no_chance(seed: int) -> Iterator[None]:
    """Ids and pauses are drawn from the seed, and what was before is put back."""
    changed: Any = ids  # what is not its own, and is put back
    before, state = changed.secrets, random.getstate()
    changed.secrets = _Seeded(seed)
    random.seed(f"run/{seed}")
    try:
        yield
    finally:
        changed.secrets = before
        random.setstate(state)


class _Ear:
    """Hears the log: what nobody foresaw becomes history."""

    def __init__(self) -> None:
        self.play: Play | None = None

    def __call__(self, _logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if self.play is not None:
            process = CURRENT.get()
            error = line.get("exc_info")
            level = "unforeseen" if error or line.get("event") == REFUSED else method
            text = f"{line.get('event')}{_error(error)} {line.get('error', '')}".strip()
            by = process.name if process else "world"
            self.play.note(history.Logged(by=by, level=level, text=self.play.without_path(text)))
        raise structlog.DropEvent


def _error(error: Any) -> str:
    if not error:
        return ""
    found = error if isinstance(error, BaseException) else sys.exc_info()[1]
    return f": {type(found).__name__}: {found}"


@contextmanager
def _listening() -> Iterator[_Ear]:
    ear, before = _Ear(), structlog.get_config()
    structlog.configure(
        processors=[ear],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        cache_logger_on_first_use=False,
    )
    try:
        yield ear
    finally:
        structlog.configure(**before)
