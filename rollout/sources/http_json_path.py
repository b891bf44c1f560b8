"""Paths into JSON: `data.rows[*].counts["5xx"]`. Names, places, and all that a list holds; nothing is run."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from rollout.core.errors import TransientError

MOST = 10_000  # nodes of one answer that are looked at
NAMES = 160  # characters of the names that there are

ALL: Final = "*"
_STEP = re.compile(r'\.?([A-Za-z_][\w-]*)|\[(-?\d{1,6})\]|(\[\*\])|\["([^"\\]{1,200})"\]')
Step = tuple[str, str | int]  # name | place | all, and which


@lru_cache(maxsize=1000)
def steps(path: str) -> tuple[Step, ...]:
    """Take a path apart. Raises ValueError for what is none; `$` is the whole document."""
    rest = path.removeprefix("$")
    found: list[Step] = []
    at = 0
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None:
            raise ValueError(
                f"'{path}' is no path at '{rest[at:][:20]}'; write for example data.rows[*].count"
            )
        name, place, all_, quoted = match.groups()
        if all_:
            found.append((ALL, ""))
        else:
            found.append(("place", int(place)) if place else ("name", name or quoted))
        at = match.end()
    return tuple(found)


def _checked(path: str) -> str:
    steps(path)
    return path


JsonPath = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked)]


def nodes(path: str, document: Any) -> list[Any]:
    """Everything that `path` leads to; a name or place that is not there leads nowhere.

    Raises TransientError beyond `MOST` nodes.
    """
    found = [document]
    for kind, which in steps(path):
        found = [inner for node in found for inner in _inside(node, kind, which)]
        if len(found) > MOST:
            raise TransientError(f"more than {MOST} entries at {path}; ask for less")
    return found


def named(node: Any) -> str:
    """What there is in a node, as people need it to write a path."""
    if isinstance(node, Mapping):
        return (", ".join(map(str, node)) or "nothing")[:NAMES]
    if isinstance(node, list):
        return f"a list of {len(node)}"
    return f"a {type(node).__name__}" if node is not None else "null"


def _inside(node: Any, kind: str, which: str | int) -> Iterable[Any]:
    if kind == ALL:
        return node if isinstance(node, list) else node.values() if isinstance(node, Mapping) else ()
    if isinstance(which, int):
        fits = isinstance(node, list) and -len(node) <= which < len(node)
        return (node[which],) if fits else ()
    return (node[which],) if isinstance(node, Mapping) and which in node else ()
