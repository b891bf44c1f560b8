"""What signals.yaml says of a signal to one kind of source: one of the forms that the source knows.

For sources, which know nothing of each other. What must not live here: what a source makes of it.
"""

from collections.abc import Mapping
from typing import ClassVar, Self, TypeVar

from pydantic import ValidationError, model_validator

from rollout.core.errors import InvalidInput, Problem
from rollout.core.signals import Signal, SignalKind
from rollout.explain import explain
from rollout.ports import Ask
from rollout.registry import Options

F = TypeVar("F", bound="SignalForm")


class SignalForm(Options):
    """Root of what sources understand. `forms`: the keys of each form, and the kind of signal it reads."""

    forms: ClassVar[Mapping[frozenset[str], SignalKind]] = {}

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.given not in self.forms:
            forms = ", or ".join(" and ".join(sorted(form)) for form in self.forms)
            raise ValueError(f"says {' and '.join(sorted(self.given)) or 'nothing'}; must say {forms}")
        return self

    @property
    def given(self) -> frozenset[str]:
        """The keys of forms that were written."""
        keys = frozenset[str]().union(*self.forms)
        return frozenset(name for name in keys if getattr(self, name) is not None)

    @property
    def kind(self) -> SignalKind:
        """The kind of signal that this form can be read for."""
        return self.forms[self.given]


def read_form(signal: Signal, source: str, form: type[F]) -> F | None:
    """What is written of `signal` for a kind of source; None where nothing is.

    Raises InvalidInput naming the signal and each wrong place.
    """
    written = signal.sources.get(source)
    if written is None:
        return None
    place = f"signals.{signal.name}.{source}"
    said = f"Signal '{signal.name}' cannot be read by '{source}'."
    try:
        spec = form.model_validate(written)
    except ValidationError as error:
        raise InvalidInput(said, explain(error, form, place)) from error
    if spec.kind is not signal.kind:
        problem = Problem(place, f"is written for a {spec.kind}, but the signal is a {signal.kind}")
        raise InvalidInput(said, (problem,))
    return spec


def unread(signal: Signal, region: str, source: str) -> str:
    """The sentence for a signal that says nothing to this kind of source."""
    return (
        f"Signal {signal.name} is not read in {region}: it does not say how '{source}' reads it. "
        f"Add '{source}:' to it in policies/signals.yaml."
    )


def no_time(ask: Ask) -> str:
    """The sentence for a reading that is asked for no time at all."""
    return (
        f"The clock says {ask.now.isoformat()}, until when everything was read already; nothing was read. "
        "Check the clock of the controller if it stands still."
    )
