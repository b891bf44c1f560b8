"""What people and pipelines do: say something to any machine, and say it again elsewhere when nobody answers.

A start is a request with a key, which may be made many times and starts one rollout. What must not live here:
when they do it (knobs.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from rollout.commands import StartRequest
from rollout.core.errors import RolloutError, StoreError
from rollout.core.model import IntentKind, Phase, Release
from rollout.once import Answer, Claim, under
from rollout.ports import Case
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, ERIN
from tests.simulation import history
from tests.simulation.knobs import Act
from tests.simulation.machine import Machine, Node

ACTORS = {"dana": DANA, "erin": ERIN}
PATIENCE_S, TRIES = 3.0, 12


class Place(Protocol):
    """Where people are."""

    machines: list[Machine]

    def note(self, what: Any) -> None: ...
    def rollouts(self) -> tuple[str, ...]: ...


Word = Callable[[Node], Awaitable[str]]


class People:
    """Everybody outside. `chance` says whom they turn to."""

    def __init__(self, place: Place, chance: Random) -> None:
        self._place, self._chance = place, chance
        self._copies = 0

    async def start(self, service: str, version: str, policy: str, key: str) -> None:
        """A pipeline asks for a release until it knows that it was taken."""
        release = Release(service=service, version=version, author="ana")
        request = StartRequest(release=release, policy=policy)
        await self._say(
            "pipeline", f"start {service} {version}", lambda node: self._start(node, request, key)
        )

    async def act(self, act: Act) -> None:
        """A person says something of the nth rollout."""
        known = self._place.rollouts()
        if act.about < len(known):
            await asyncio.gather(
                *(self.tell(act.who, act.what, known[act.about], tries=3) for _ in range(act.times))
            )

    async def tell(self, who: str, what: str, rollout_id: str, tries: int = TRIES) -> None:
        """One word about one rollout."""
        await self._say(who, f"{what} {rollout_id}", lambda node: _word(node, who, what, rollout_id), tries)

    async def help(self, cases: list[Case]) -> None:
        """What somebody on call does about each rollout that waits."""
        answers = {
            Phase.AWAITING_APPROVAL: "approve",
            Phase.HELD: "resume",
            Phase.ROLLBACK_FAILED: "rollback",
        }
        for case in cases:
            rollout = case.rollout
            if rollout.hold is not None and "turned out harmful" in rollout.hold.reason:
                await self.tell("dana", "rollback", rollout.id)  # what is beside it is no place to go on from
            elif rollout.phase in answers:
                await self.tell("dana", answers[rollout.phase], rollout.id)
            if rollout.gate is not None:
                await self.tell("dana", "gate", rollout.id)

    async def _say(self, who: str, what: str, word: Word, tries: int = TRIES) -> None:
        for _ in range(tries):
            node = self._chance.choice(self._place.machines).node
            answer = "nobody listens" if node is None else await self._answer(node, word)
            to = node.name if node else "nobody"
            self._place.note(history.Said(who=who, what=what, to=to, answer=answer))
            if answer not in ("nobody listens", "no answer", "store", "running"):
                return
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))

    async def _answer(self, node: Node, word: Word) -> str:
        """What a machine answers in time."""
        task = node.process.begin(_spoken(word, node))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        return task.result() if done else "no answer"

    async def _start(self, node: Node, request: StartRequest, key: str) -> str:
        """As the API does it: the key is reserved, marked by the effect, and answered once."""
        self._copies += 1
        claim = Claim(scope="ci", key=key, fingerprint=key, owner=f"copy {self._copies}", at=node.clock.now())
        kept = await node.store.reserve(claim)
        if kept.owner != claim.owner:
            return "running" if kept.resource is None else "taken already"
        try:
            with under(claim):
                rollout = await node.commands.start(request, DEPLOYER)
        except StoreError:
            await node.store.release(claim)
            raise
        await node.store.keep_answer(claim, Answer(status=202, body=rollout.id.encode()))
        return f"taken: {rollout.id}"


async def _spoken(word: Word, node: Node) -> str:
    try:
        return await word(node)
    except StoreError:
        return "store"
    except RolloutError as error:
        return f"refused: {error.code}"


async def _word(node: Node, who: str, what: str, rollout_id: str) -> str:
    commands, actor = node.commands, ACTORS[who]
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "hold": lambda: commands.hold(rollout_id, actor, "wait"),
        "brief hold": lambda: commands.hold(rollout_id, actor, "wait", for_s=4, then="resume"),
        "resume": lambda: commands.resume(rollout_id, actor, "go on"),
        "rollback": lambda: commands.rollback(rollout_id, actor, "go back"),
        "cancel": lambda: commands.cancel(rollout_id, ADMIN, "stop"),
        "approve": lambda: commands.decide_approval(rollout_id, actor, IntentKind.APPROVE, "yes"),
        "reject": lambda: commands.decide_approval(rollout_id, actor, IntentKind.REJECT, "no"),
        "promote": lambda: commands.promote(rollout_id, actor, "now"),
        "note": lambda: commands.note(rollout_id, actor, "I am looking"),
        "gate": lambda: commands.report_gate(rollout_id, actor, "smoke", "passed", region="R3"),
    }
    await acts[what]()
    return "taken"
