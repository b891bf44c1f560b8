"""Kills a controller at many points of a story, each time in a process of its own, and tells what went wrong.

The story is lived twice. First undisturbed: its points are counted, and its end is what every other one must
have. Then look by look: the controller that lives on is forked at the start of a look, and the copy dies at
one point of it. What it leaves in the database and outside is checked at once, and a new controller goes on
from there to the end. A state that was met before is not lived to its end again: equal states have equal
ends. Then everything is put back, and the next copy dies.
"""

import gc
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.crash.ends import End, end_of, wrongs
from tests.crash.grounds import Ground
from tests.crash.life import ONE, Life, Loop, Story, leave_nothing_to_chance
from tests.crash.outside import Outside
from tests.crash.points import NEVER, Points

LOOKS = 150  # in which every story comes to its end
LIMIT_S = 600  # for one life, on a busy machine
LEASE_LOOKS = 20  # after which a replica that takes over finds the lease of the dead one ended
FILE = "outside"
T = TypeVar("T")
Choice = Callable[[Sequence[str]], Sequence[int]]  # names of all points → numbers of those to die at


@dataclass(kw_only=True)
class Tally:
    """What a campaign did. `late_s`: how much later than undisturbed the latest end was."""

    points: int = 0
    kills: int = 0
    states: int = 0
    late_s: int = 0
    seconds: float = 0.0
    bad: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Lived:
    """An end, or why there is none; after so many looks, with these points in each of them."""

    looks: list[list[str]]
    end: End | None
    wrong: list[str]


class Campaign:
    """One story on one ground."""

    def __init__(self, story: Story, ground: Ground) -> None:
        self._story, self._ground = story, ground
        self._tally = Tally()
        self._ends: dict[tuple[int, str], str] = {}  # look, state → what was wrong with its end
        self._undisturbed = _Lived(looks=[], end=None, wrong=[])

    def run(self, choice: Choice) -> Tally:
        """Die at the chosen points, each in turn; in a process of its own, which is bounded by no time."""
        return in_fork(lambda: self._run(choice), limit_s=0)

    def _run(self, choice: Choice) -> Tally:
        began = time.perf_counter()
        leave_nothing_to_chance()
        gc.freeze()  # a fork then shares what was imported
        gc.disable()  # a life is short
        self._prepare()
        self._undisturbed = in_fork(lambda: self._live(ONE, self._began()))
        assert self._undisturbed.end is not None, self._undisturbed.wrong
        assert not self._undisturbed.wrong, self._undisturbed.wrong
        self._ground.settle()
        self._ground.put_back()
        names = [name for look in self._undisturbed.looks for name in look]
        self._tally.points = len(names)
        self._die_at(sorted(choice(names)))
        self._tally.seconds = time.perf_counter() - began
        return self._tally

    # ------------------------------------------------------------------ living

    def _prepare(self) -> None:
        """Everything before the first point."""
        outside = Outside.begun(self._ground.directory / FILE, self._story.target)
        life = Life(self._ground, outside, self._story, Points())
        Loop().run(self._story.given(life))
        life.close()
        outside.state.past = outside.state.done()
        life.pass_time()
        self._ground.remember()

    def _began(self) -> float:
        return Outside.found(self._ground.directory / FILE).state.clock.now().timestamp()

    def _live(self, replica: str, now_s: float) -> _Lived:
        """A new life from the present state to its end, with the points that it passes."""
        outside, points, loop = Outside.found(self._ground.directory / FILE), Points(), Loop()
        outside.state.clock.advance(now_s - outside.state.clock.now().timestamp())
        life = Life(self._ground, outside, self._story, points, replica)
        wrong = loop.run(wrongs(life))
        points.passed.clear()
        looks = []
        for number in range(LOOKS):
            over = loop.run(life.look())
            looks.append(list(points.passed))
            points.passed.clear()
            if over:
                wrong += loop.run(wrongs(life))
                return _Lived(looks=looks, end=loop.run(end_of(life)), wrong=wrong)
            life.pass_time()
            if replica != ONE and number == LEASE_LOOKS:
                self._ground.end_leases()
        stand = [case.rollout.reason.text for case in loop.run(life.cases())]
        return _Lived(looks=looks, end=None, wrong=[*wrong, f"no end in {LOOKS} looks: {stand}"])

    # ------------------------------------------------------------------ dying

    def _die_at(self, chosen: Sequence[int]) -> None:
        """Live on, look by look, and let a copy die at each chosen point."""
        outside, points, loop = Outside.found(self._ground.directory / FILE), Points(), Loop()
        life = Life(self._ground, outside, self._story, points)
        first = 0
        for look, names in enumerate(self._undisturbed.looks):
            mine = [number - first for number in chosen if first <= number < first + len(names)]
            life.close()
            if mine:
                life.outside.save()
                self._ground.remember()
            for number in mine:
                self._die(life, points, loop, look, number)
            first += len(names)
            if first > max(chosen, default=0):
                break
            points.arm(NEVER, NEVER)
            loop.run(life.look())
            assert points.passed == names, f"look {look} is not the same twice"
            life.pass_time()
        life.close()

    def _die(self, life: Life, points: Points, loop: Loop, look: int, number: int) -> None:
        reading, writing = os.pipe()

        def look_once() -> None:
            points.arm(number, writing)
            loop.run(life.look())

        child = fork(look_once)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        where = os.read(reading, 200).decode()
        os.close(reading)
        self._tally.kills += 1
        self._ground.settle()
        ended = os.waitstatus_to_exitcode(status)
        if ended == -signal.SIGKILL and where:
            wrong = self._judged(life, look)
        else:
            wrong = f"it did not die, and ended with {ended}"
        if wrong:
            self._tally.bad.append(f"look {look}, point {number}, killed {where}: {wrong}")
        self._ground.put_back()

    def _judged(self, life: Life, look: int) -> str:
        """What is wrong with the state that a death left, or with its end."""
        state = (look, self._ground.fingerprint())
        if state not in self._ends:
            self._tally.states += 1
            restarted = life.clock.now().timestamp() + 1
            try:
                self._ends[state] = self._compared(
                    in_fork(lambda: self._live(self._story.heir, restarted)), look
                )
            except AssertionError as error:
                self._ends[state] = str(error)
            self._ground.settle()
        return self._ends[state]

    def _compared(self, lived: _Lived, look: int) -> str:
        wrong = list(lived.wrong)
        if lived.end is not None and self._undisturbed.end is not None:
            wrong += lived.end.other_than(self._undisturbed.end)
            late_s = look + 1 + len(lived.looks) - len(self._undisturbed.looks)
            self._tally.late_s = max(self._tally.late_s, late_s)
            wrong += [f"{late_s} s late"] if late_s > self._story.late_s else []
        return "; ".join(wrong)


def fork(work: Callable[[], object], limit_s: int = LIMIT_S) -> int:
    """Do it in a process of its own, which ends without cleaning anything up. Returns its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    signal.alarm(limit_s)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def in_fork(work: Callable[[], T], limit_s: int = LIMIT_S) -> T:
    """What it returns. Raises AssertionError with what it raised."""
    reading, writing = os.pipe()

    def tell() -> None:
        try:
            told = (True, work())
        except Exception:
            told = (False, traceback.format_exc())  # type: ignore[assignment]
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(told, pipe)

    child = fork(tell, limit_s)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    assert content, f"a life ended with {os.waitstatus_to_exitcode(status)}"
    worked, told = pickle.loads(content)
    assert worked, told
    return told  # type: ignore[no-any-return]
