"""Which attempts are under way, by lane and place, and how many there may be: nobody takes another's room.

A place is the region of an order, or the channel of a notice. Each lane has room of its own in each place, so
a region that hangs fills its own and delays no other, and nothing that is told, or goes forward, delays what
goes back.
"""

from collections.abc import Mapping

from rollout.core.actions import Lane

AT_ONCE: Mapping[Lane, int] = {Lane.BACK: 100, Lane.KEEP: 32, Lane.FORWARD: 32, Lane.TELL: 16}


class Lanes:
    """The attempts under way. `at_once` is how many each lane may have in each place."""

    def __init__(self, at_once: Mapping[Lane, int] = AT_ONCE) -> None:
        self._at_once = at_once
        self._under_way: dict[Lane, dict[str, set[str]]] = {lane: {} for lane in Lane}

    def enter(self, lane: Lane, place: str, key: str) -> bool:
        """Take room for one attempt; False where there is none, or it is under way."""
        here = self._under_way[lane].setdefault(place, set())
        if key in here or len(here) >= self._at_once[lane]:
            return False
        here.add(key)
        return True

    def leave(self, lane: Lane, place: str, key: str) -> bool:
        """An attempt has ended. True where there was no room, so that others may wait for it."""
        here = self._under_way[lane][place]
        was_full = len(here) >= self._at_once[lane]
        here.discard(key)
        if not here:
            del self._under_way[lane][place]
        return was_full

    def full(self, lane: Lane) -> frozenset[str]:
        """The places without room."""
        return frozenset(
            place for place, keys in self._under_way[lane].items() if len(keys) >= self._at_once[lane]
        )

    def keys(self, lane: Lane) -> frozenset[str]:
        """What is under way."""
        return frozenset(key for keys in self._under_way[lane].values() for key in keys)
