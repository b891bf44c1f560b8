"""JSON answers into the frozen dataclasses of showing/views.py, so that a program reads typed attributes.

A newer server may say more: fields that are not known here are passed over, and a new word of an enum stays
the plain text that it is. An older one may say less: a field with a default keeps it.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from rollout.client.errors import NotOurs

T = TypeVar("T")
_SCALARS = (str, int, float, bool)


def read(kind: type[T], data: Any, place: str = "") -> T:
    """`data` as a `kind`. Raises NotOurs naming the place that does not fit."""
    return cast(T, _read(kind, data, place or "the answer"))


def _read(kind: Any, data: Any, place: str) -> Any:
    if kind is Any:
        return data
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _optional(kind, data, place)
    if origin is tuple:
        return _several(get_args(kind), data, place)
    if origin is not None and issubclass(origin, Mapping):
        _fit(isinstance(data, Mapping), place, "an object")
        return {key: _read(get_args(kind)[1], value, f"{place}.{key}") for key, value in data.items()}
    if is_dataclass(kind):
        return _noun(kind, data, place)
    return _scalar(kind, data, place)


def _optional(kind: Any, data: Any, place: str) -> Any:
    inner = [each for each in get_args(kind) if each is not type(None)]
    return None if data is None else _read(inner[0], data, place)


def _several(kinds: tuple[Any, ...], data: Any, place: str) -> tuple[Any, ...]:
    _fit(isinstance(data, list | tuple), place, "a list")
    each = kinds if kinds[-1] is not Ellipsis else (kinds[0],) * len(data)
    return tuple(_read(kind, one, f"{place}[{n}]") for n, (kind, one) in enumerate(zip(each, data)))  # noqa: B905  # a newer server may say more


def _noun(kind: Any, data: Any, place: str) -> Any:
    _fit(isinstance(data, Mapping), place, "an object")
    hints, known = _shape(kind)
    missing = [name for name, one in known.items() if name not in data and _needed(one)]
    _fit(not missing, place, f"an object with {', '.join(missing)}")
    return kind(**{n: _read(hints[n], data[n], f"{place}.{n}") for n in known if n in data})


def _scalar(kind: Any, data: Any, place: str) -> Any:
    if kind is datetime:
        _fit(isinstance(data, str), place, "a time")
        try:
            return datetime.fromisoformat(data)
        except ValueError:
            _fit(False, place, "a time")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data) if data in {each.value for each in kind} else data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    _fit(kind not in _SCALARS or isinstance(data, kind), place, getattr(kind, "__name__", "another value"))
    return data


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], dict[str, "Field[Any]"]]:
    return get_type_hints(kind), {one.name: one for one in fields(kind) if one.init}


def _needed(one: "Field[Any]") -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _fit(fits: bool, place: str, wanted: str) -> None:
    if not fits:
        raise NotOurs(
            f"{place} is not {wanted}: the server and this client are of different versions, or something "
            "else answers there."
        )
