"""How long functions and files are; `python -m tests.architecture.sizes` shows it, and fails over a limit."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PACKAGES = ("rollout", "api")
FUNCTION_LINES, FILE_LINES = 60, 500
ROUTE_LINES = 12  # an aim for handlers, shown only


@dataclass(frozen=True, slots=True)
class Size:
    """How many lines something has, and where it is."""

    place: str
    lines: int


def modules() -> Iterator[Path]:
    """Every Python file of the product."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def files() -> list[Size]:
    """Every file with its lines."""
    return [Size(name(path), len(path.read_text("utf-8").splitlines())) for path in modules()]


def functions() -> list[Size]:
    """Every function with its lines, from `def` to its end."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(Size(f"{name(path)}:{node.lineno} {node.name}", lines))
    return found


def too_long() -> list[Size]:
    """Whatever is over its limit."""
    long_files = [size for size in files() if size.lines > FILE_LINES]
    return long_files + [size for size in functions() if size.lines > FUNCTION_LINES]


def name(path: Path) -> str:
    """A path as a person writes it."""
    return path.relative_to(ROOT).as_posix()


def report() -> str:
    """Medians against their aims, the longest of each, and what is too long."""
    of_files, of_functions = files(), functions()
    routes = [size for size in of_functions if size.place.startswith("api/routes/")]
    rows = (("function", of_functions, 10), ("file", of_files, 150), ("route handler", routes, ROUTE_LINES))
    lines = []
    for what, sizes, aim in rows:
        if sizes:
            longest = max(sizes, key=lambda size: size.lines)
            middle = median(size.lines for size in sizes)
            lines.append(
                f"{what}: {len(sizes)}, median {middle:g} lines (aim {aim}), "
                f"longest {longest.lines} ({longest.place})"
            )
    lines += [f"TOO LONG: {size.place} has {size.lines} lines" for size in too_long()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
    sys.exit(1 if too_long() else 0)
