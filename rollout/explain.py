"""Pydantic's errors as sentences for people, each with the dotted place it belongs to.

Used for policies, regions, plugin options and settings, so that the same mistake reads the same everywhere.
"""

import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.core.errors import Problem, did_you_mean

_INNER_PLACE = re.compile(r"([A-Za-z_]\w*(?:\.[\w-]+)*): (.+)", re.DOTALL)
_WRITTEN_MAX = 60  # characters of a wrong value that are shown

_SENTENCES = {
    "missing": "is missing; add it",
    "literal_error": "must be {expected}, and is {written}",
    "enum": "must be {expected}, and is {written}",
    "greater_than": "must be greater than {gt}, and is {written}",
    "greater_than_equal": "must be at least {ge}, and is {written}",
    "less_than": "must be less than {lt}, and is {written}",
    "less_than_equal": "must be at most {le}, and is {written}",
    "too_short": "needs at least {min_length} entry, and has {actual_length}",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number, and is {written}",
    "tuple_type": "must be a list such as [a, b], and is {written}",
    "list_type": "must be a list such as [a, b], and is {written}",
    "model_type": "must be a mapping of keys to values, and is {written}",
    "model_attributes_type": "must be a mapping of keys to values, and is {written}",
    "dict_type": "must be a mapping of keys to values, and is {written}",
    "mapping_type": "must be a mapping of keys to values, and is {written}",
    "string_type": "must be text, and is {written}; put it in quotes",
    "bool_parsing": "must be true or false, and is {written}",
    "bool_type": "must be true or false, and is {written}",
    "int_type": "must be a whole number, and is {written}",
    "int_parsing": "must be a whole number, and is {written}",
    "int_from_float": "must be a whole number, and is {written}",
    "float_type": "must be a number, and is {written}",
    "float_parsing": "must be a number, and is {written}",
}
_PATTERNS = {
    r"^[a-z][a-z0-9-]{0,62}$": "lower-case letters, digits and '-', beginning with a letter, 63 at most",
    r"^[A-Za-z][A-Za-z0-9_.:-]{0,127}(\{segment=[^{},=\"\s]{1,64}\})?$": (
        "letters, digits, '_', '.', ':' and '-', beginning with a letter, 128 at most, "
        "with '{segment=name}' behind it where it is one part of a signal"
    ),
    r"^[^{},=\"\s]{1,64}$": "a word of 64 characters at most without blanks, quotes, braces, ',' and '='",
    r"^[A-Za-z][A-Za-z0-9-]{0,62}$": "letters, digits and '-', beginning with a letter, 63 at most",
}


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> tuple[Problem, ...]:
    """Every error as a Problem; `place` is the dotted path under `prefix`, `model` is what was validated."""
    details = [detail for detail in error.errors() if not _follows(detail, error)]
    return tuple(problem for detail in details for problem in _explained(detail, model, prefix))


def shown(value: Any) -> str:
    """Show a value as it was written, short enough for one line."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = {"None": "empty", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= _WRITTEN_MAX else text[: _WRITTEN_MAX - 1] + "…"


def _follows(detail: ErrorDetails, error: ValidationError) -> bool:
    """Whether a list is too short only because its entries are wrong, which is said already."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in error.errors()
    )


def _explained(detail: ErrorDetails, model: type[BaseModel], prefix: str) -> list[Problem]:
    place = joined(prefix, *detail["loc"])
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        return [Problem(place, f"unknown key '{key}'{did_you_mean(key, _keys(model, detail['loc'][:-1]))}")]
    if detail["type"] == "value_error":
        text = detail["msg"].removeprefix("Value error, ")
        return [_inner(place, line) for line in text.split("\n")]
    return [Problem(place, _sentence(detail))]


def _sentence(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        return f"must be {_PATTERNS.get(pattern, f'text like {pattern}')}, and is {shown(detail['input'])}"
    template = _SENTENCES.get(detail["type"])
    if template is None:
        return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, and is {shown(detail['input'])}"
    limits = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in context.items()}
    return template.format(written=shown(detail["input"]), **limits)


def _inner(place: str, text: str) -> Problem:
    """Take the place out of the sentence of a validator over several keys: `stages.0: has no bake`."""
    match = _INNER_PLACE.fullmatch(text)
    return Problem(joined(place, match[1]), match[2]) if match else Problem(place, text)


def joined(*parts: str | int) -> str:
    """Join a dotted place: `stages.1.bake`; empty parts are left out."""
    return ".".join(str(part) for part in parts if part != "")


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """List the keys that may be written at `loc` of `model`."""
    found = model
    for part in loc:
        fields = {field.alias or name: field for name, field in found.model_fields.items()}
        if isinstance(part, str) and part in fields:
            found = _model_in(fields[part].annotation) or found
    return {field.alias or name for name, field in found.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model inside `tuple[X, ...]`, `X | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in inner if model), None)
