"""Power cuts: what is left is started from, and must hold all that was acknowledged, and nothing by half."""

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import product
from math import ceil
from pathlib import Path

from rollout.clock import SteadyClock
from rollout.core.errors import RolloutError
from rollout.highwater import HighWater
from rollout.store import inline, open_store
from rollout.store.sqlite import sqlite_module
from tests.faults.figures import Figures
from tests.faults.power.contents import Contents
from tests.faults.power.disk import Disk
from tests.faults.power.recording import Answered, Deed, recorded

JOURNALS = ("wal", "delete")
STORIES = ("a good release", "harm in the second region")
SHOWN = 5  # of what was wrong


def cut(case: str, deeds: Sequence[Deed], cuts: int, *, lies: bool = False, seed: int = 0) -> Figures:
    """Cut the power so many times, anywhere between two deeds after the first acknowledgment."""
    figures, chance, disk = Figures(case, cycles=cuts), random.Random(seed), Disk(lies=lies)
    holds = [deed.holds for deed in deeds if isinstance(deed, Answered)]
    first = next(number for number, deed in enumerate(deeds) if isinstance(deed, Answered))
    places = sorted(chance.choices(range(first, len(deeds)), k=cuts))
    answered, wrong = 0, 0
    with tempfile.TemporaryDirectory(prefix="rollout-power-") as place:
        for number, deed in enumerate(deeds):
            disk.do(deed)
            answered += isinstance(deed, Answered)
            while places and places[0] == number:
                places.pop(0)
                if found := _wrong(Path(place), disk.left(chance), holds[answered - 1 : answered + 1]):
                    wrong += 1
                    figures.wrong += [f"cut after deed {number}: {found}"] if wrong <= SHOWN else []
    if wrong > SHOWN:
        figures.wrong.append(f"{wrong - SHOWN} more of {cuts}")
    figures.said.append(f"{len(holds)} acknowledged transactions, {len(deeds)} deeds, {wrong} cuts wrong")
    return figures


def cut_lives(cuts: int) -> Figures:
    """As many cuts, shared out to two stories in each of the two journals. Raises NoTrace."""
    total = Figures("power")
    for journal, story in product(JOURNALS, STORIES):
        with tempfile.TemporaryDirectory(prefix="rollout-power-") as place:
            deeds = recorded(Path(place), story, journal)
        found = cut(f"{journal}, {story}", deeds, ceil(cuts / len(JOURNALS) / len(STORIES)))
        total.cycles += found.cycles
        total.wrong += [f"{found.case}: {line}" for line in found.wrong]
        total.said += [f"{found.case}: {line}" for line in found.said]
    return total


def _wrong(place: Path, files: Mapping[str, bytes], holds: Sequence[str]) -> str:
    """What is wrong with the files that a cut left; `holds` is what the database may hold."""
    for old in place.iterdir():
        old.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    file = place / "rollout.db"
    if not file.exists():
        return "the database is not there"
    try:
        with closing(Contents(file)) as contents:
            if damage := contents.damage():
                return f"it is damaged: {damage}"
            if contents.digest() not in holds:
                return "it holds neither what was acknowledged last nor what came next"
        return asyncio.run(_doubts(place))
    except (sqlite_module().Error, RolloutError) as error:
        return f"it cannot be opened: {error}"


async def _doubts(place: Path) -> str:
    """Whether a controller that starts here takes its database for an older copy."""
    store = open_store(f"sqlite:///{place / 'rollout.db'}", run=inline)
    try:
        await HighWater(place / "newest-event", store, SteadyClock().now).compare()
        return "regions are in doubt" if await store.doubted() else ""
    finally:
        store.close()
