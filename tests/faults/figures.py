"""What a case measured, and its line in the table."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.checks import violations
from tests.faults.facts import Facts

WIDTHS = (34, 7, 8, 9, 11)


@dataclass
class Figures:
    """One case. `times`: seconds, by what they are of."""

    case: str
    cycles: int = 0
    effects: int = 0
    rollouts: int = 0
    wrong: list[str] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def took(self, what: str, seconds: float) -> None:
        self.times.setdefault(what, []).append(seconds)

    def check(self, facts: Facts) -> None:
        """The same check at the end of every case."""
        self.effects += sum(entry.changed for entry in facts.journal)
        self.rollouts += len(facts.rollouts)
        self.wrong += violations(facts)

    def __str__(self) -> str:
        shown = [self.case, self.cycles, self.rollouts, self.effects, len(self.wrong)]
        lines = ["".join(str(value).ljust(width) for value, width in zip(shown, WIDTHS, strict=True))]
        for what, found in self.times.items():
            lines.append(f"    {what}: {summary(found)}")
        return "\n".join(
            [*lines, *(f"    {line}" for line in self.said), *(f"    VIOLATION {w}" for w in self.wrong)]
        )


HEAD = "".join(
    name.ljust(width)
    for name, width in zip(("case", "cycles", "rollouts", "effects", "violations"), WIDTHS, strict=True)
)


def summary(found: Sequence[float]) -> str:
    ordered = sorted(found)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, longest {ordered[-1]:.2f} s of {len(ordered)}"
