"""YAML text to plain values that know their lines. The only importer of yaml.

Reads YAML 1.2's core: `yes`, `on`, `1:20` and `2024-01-01` are text, so a region may be called NO.
Refused, each with its line: duplicate and merge keys, foreign tags, recursive or many aliases, NaN,
infinity, depth and size.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from rollout.core.errors import InvalidInput, Problem
from rollout.explain import joined, shown

MAX_BYTES = 1_000_000  # of one file
MAX_DEPTH = 40
MAX_ALIASES = 20
MAX_VALUES = 20_000  # after aliases are followed

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_PLAIN = "plain"
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TYPES: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "null": type(None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file's values, and the line (from 1) of every dotted place in it."""

    place: str  # as people know the file: policies/standard.yaml
    data: dict[str, Any]
    lines: Mapping[str, int]

    def at(self, problem: Problem) -> Problem:
        """Return the same problem with `file:line: ` before its dotted place."""
        where = f"{self.place}:{self._line(problem.place)}"
        return Problem(f"{where}: {problem.place}" if problem.place else where, problem.message)

    def _line(self, dotted: str) -> int:
        """Find the line of a place, or of the nearest one around it that is written."""
        while dotted and dotted not in self.lines:
            dotted = dotted.rpartition(".")[0]
        return self.lines.get(dotted, 1)


class _Loader(_BASE):  # type: ignore[misc]  # libyaml's loader where it is built in, else the Python one
    """Leaves the meaning of plain scalars to this module."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)


def read_document(text: str, place: str) -> Document:
    """Parse one YAML document that must be a mapping. Raises InvalidInput naming `place` and the line."""
    text = text.removeprefix("\ufeff")
    _refuse_size(text, place)
    try:
        _refuse_abuse(text, place)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        began = f" {error.context} from line {error.context_mark.line + 1}" if error.context_mark else ""
        refuse(place, line, f"is not YAML: {error.problem or 'wrong'}{began}")
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        refuse(place, 1, f"is not YAML: {' '.join(str(error).split())}")
    if node is None:
        refuse(place, 1, "is empty; docs/policy.md shows what belongs there")
    reader = _Reader(place)
    data = reader.value(node, "")
    if not isinstance(data, dict):
        refuse(place, _line(node), f"must be a mapping of keys to values, and is {shown(data)}")
    return Document(place=place, data=data, lines=reader.lines)


def decode(content: bytes, place: str) -> str:
    """Bytes of a file as text. Raises InvalidInput naming the first byte that is not UTF-8."""
    if len(content) > MAX_BYTES:
        refuse(place, 1, f"is larger than {MAX_BYTES // 1000} kB; a policy is a page")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        refuse(place, line, f"is not UTF-8 at byte {error.start}: {error.reason}; save the file as UTF-8")


def refuse(place: str, line: int, message: str, dotted: str = "") -> NoReturn:
    """Raise InvalidInput for one line of one file."""
    where = f"{place}:{line}: {dotted}" if dotted else f"{place}:{line}"
    raise InvalidInput(f"{place} cannot be used.", (Problem(where, message),))


def _refuse_size(text: str, place: str) -> None:
    if len(text) > MAX_BYTES:
        refuse(place, 1, f"is larger than {MAX_BYTES // 1000} kB; a policy is a page")
    strange = _UNPRINTABLE.search(text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        refuse(
            place, line, f"holds the character U+{ord(strange[0]):04X}, which YAML does not allow; delete it"
        )


def _refuse_abuse(text: str, place: str) -> None:
    """Look at the stream before a tree is built from it, so that depth costs nothing."""
    depth = aliases = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > 2 * MAX_VALUES:  # keys and values
            refuse(place, _line(event), f"holds more than {MAX_VALUES} values; split it")
        if depth > MAX_DEPTH:
            refuse(place, _line(event), f"is nested more than {MAX_DEPTH} deep; write it flatter")
        if aliases > MAX_ALIASES:
            refuse(place, _line(event), f"has more than {MAX_ALIASES} aliases (*name); write the values out")


def _line(node: yaml.Node | yaml.Event) -> int:
    return int(node.start_mark.line) + 1 if node.start_mark else 1


class _Reader:
    """Turns nodes into values and remembers the line of each dotted place."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.lines: dict[str, int] = {}
        self._open: list[int] = []  # ids of the collections around the present node
        self._values = 0

    def value(self, node: yaml.Node, dotted: str) -> Any:
        self.lines.setdefault(dotted, _line(node))
        self._values += 1
        if self._values > MAX_VALUES:
            refuse(self.place, _line(node), f"holds more than {MAX_VALUES} values; use fewer aliases (*name)")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, dotted)
        if id(node) in self._open:
            refuse(self.place, self.lines[dotted], "holds an alias (*name) of something that it is part of")
        self._open.append(id(node))
        try:
            return (
                self._mapping(node, dotted)
                if isinstance(node, yaml.MappingNode)
                else self._list(node, dotted)
            )
        finally:
            self._open.pop()

    def _list(self, node: yaml.Node, dotted: str) -> list[Any]:
        if node.tag != f"{_CORE}seq":
            self._refuse_tag(node)
        return [self.value(item, joined(dotted, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, dotted: str) -> dict[str, Any]:
        if node.tag != f"{_CORE}map":
            self._refuse_tag(node)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in found:
                first = self.lines[joined(dotted, key)]
                refuse(
                    self.place, _line(key_node), f"the key '{key}' is written twice; first in line {first}"
                )
            place = joined(dotted, key)
            self.lines[place] = _line(key_node)
            found[key] = self.value(value_node, place)
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            refuse(self.place, _line(node), "a key must be a word, not a list or a mapping")
        if node.tag not in (_PLAIN, f"{_CORE}str"):
            self._refuse_tag(node)
        if node.value == "<<" and node.tag == _PLAIN:
            refuse(self.place, _line(node), "merge keys (<<) are not supported; write the keys out")
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, dotted: str) -> Any:
        if node.tag == f"{_CORE}str":
            return node.value
        expected = _TYPES.get(node.tag.removeprefix(_CORE))
        if node.tag != _PLAIN and expected is None:
            self._refuse_tag(node)
        value = self._plain(node, dotted)
        if expected is not None and not isinstance(value, expected):
            refuse(
                self.place, _line(node), f"{shown(node.value)} is not what its tag {_tag(node)} says", dotted
            )
        return value

    def _plain(self, node: yaml.ScalarNode, dotted: str) -> Any:
        text: str = node.value
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text) and len(text) <= 16:
            return int(text)
        if not _NUMBER.fullmatch(text) and not _NOT_FINITE.fullmatch(text):
            return text
        number = math.nan if _NOT_FINITE.fullmatch(text) else float(text)
        if not math.isfinite(number):
            refuse(self.place, _line(node), f"must be a finite number, and is {text[:40]}", dotted)
        return number

    def _refuse_tag(self, node: yaml.Node) -> NoReturn:
        refuse(self.place, _line(node), f"the tag {_tag(node)} is not supported; leave it out")


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_CORE, "!!")
