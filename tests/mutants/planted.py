"""What a planted bug is, and reading all of them. Nothing here changes or runs anything."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SIMULATION = "simulation "  # begins the name of a killer that is a range of seeds: "simulation 0:200"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A piece of text in one file, which occurs there once, and what takes its place."""

    file: str
    old: str
    new: str

    def problem(self, root: Path) -> str:
        """Why it cannot be made in `root`; empty when it can."""
        path = root / self.file
        found = path.read_text("utf-8").count(self.old) if path.is_file() else -1
        if found == 1:
            return "its text is replaced by the same" if self.old == self.new else ""
        return f"{self.file} is not there" if found < 0 else f"its text occurs {found} times in {self.file}"

    def made(self, text: str) -> str:
        """The text of the file with the bug in it."""
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted bug: what it does wrong, which promise that breaks, and who notices."""

    name: str
    layer: str
    says: str
    breaks: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]

    def problems(self, root: Path) -> list[str]:
        """Why it is no mutant of the product in `root`; empty when it is one."""
        found = [f"{self.name}: {problem}" for edit in self.edits if (problem := edit.problem(root))]
        for killer in self.killers:
            if not killer.startswith(SIMULATION) and not _is_test(root, killer):
                found.append(f"{self.name}: there is no test {killer}")
        return found if self.killers else [*found, f"{self.name}: nobody is said to notice it"]


def planted(directory: Path = HERE) -> tuple[Mutant, ...]:
    """All mutants, by layer."""
    return tuple(one for path in sorted(directory.glob("*.toml")) for one in _read(path))


def _read(path: Path) -> Iterator[Mutant]:
    for name, raw in tomllib.loads(path.read_text("utf-8")).items():
        also = raw.pop("also", [])
        first = {key: raw.pop(key) for key in ("file", "old", "new")}
        killers = tuple(raw.pop("killers"))
        edits = tuple(Edit(**edit) for edit in (first, *also))
        yield Mutant(name=name, layer=path.stem, edits=edits, killers=killers, **_words(raw))


def _words(raw: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).strip() for name, value in raw.items()}


def _is_test(root: Path, killer: str) -> bool:
    """Whether a file holds a test of that name; its parameters are not looked at."""
    file, _, name = killer.partition("::")
    path = root / file
    return path.is_file() and f"def {name.partition('[')[0]}(" in path.read_text("utf-8")
