"""From regions.yaml and policies/*.yaml to one Configuration, or one InvalidInput with every wrong place."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from rollout.config.document import MAX_BYTES, Document, decode, read_document
from rollout.config.nouns import overridden, policy_of, refuse_unfit, regions_of, signals_of
from rollout.config.revisions import Book, Revisions
from rollout.core.errors import InvalidInput, Problem
from rollout.core.model import Region, Service
from rollout.core.policy import Policy
from rollout.core.signals import Signal
from rollout.registry import load_plugins

T = TypeVar("T")
P = ParamSpec("P")
REGIONS = "regions.yaml"
SIGNALS = "policies/signals.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """One policy as written. `digest` is the SHA-256 of `text`; `revision` rises when it changes."""

    policy: Policy
    revision: int
    text: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that the files say. `digest` covers all of them."""

    directory: Path
    regions: Mapping[str, Region]
    policies: Mapping[str, PolicyFile]
    signals: Mapping[str, Signal]
    digest: str

    def signals_for(self, service: Service) -> dict[str, Signal]:
        """What each signal means for `service`, whose own meanings come first. Raises InvalidInput."""
        return overridden(self.signals, service.signals)


def load_configuration(directory: Path, book: Book | None = None, *, begun: bool = True) -> Configuration:
    """Read every file of `directory`. Raises ONE InvalidInput with a Problem for each wrong place.

    `book` is where the revision numbers of policies are kept; without one, all are 1. One that is not `begun`
    may lack signals.yaml and any policy: its first policy is being written.
    """
    load_plugins()
    found = _Problems()
    texts = _read_files(directory, found, begun=begun)
    documents = {name: doc for name, text in texts.items() if (doc := found.of(read_document, text, name))}
    regions = found.of(regions_of, documents[REGIONS]) if REGIONS in documents else None
    signals = found.of(signals_of, documents[SIGNALS]) if SIGNALS in documents else None if begun else {}
    policies = _policies(documents, found)
    if regions and signals:
        for name, policy in policies.items():
            with found.noted():
                refuse_unfit(policy, documents[name], regions, signals)
    if regions is None or signals is None or found:
        raise found.error(directory)
    return Configuration(
        directory=directory,
        regions=regions,
        policies=_numbered(policies, texts, book or Revisions()),
        signals=signals,
        digest=_sha256("".join(f"{name}\0{_sha256(text)}\n" for name, text in sorted(texts.items()))),
    )


def _numbered(policies: Mapping[str, Policy], texts: Mapping[str, str], book: Book) -> dict[str, PolicyFile]:
    """Policies by name, each with its text and its revision."""
    digests = {policy.name: _sha256(texts[file]) for file, policy in policies.items()}
    numbers = book.assign(digests)
    return {
        policy.name: PolicyFile(
            policy=policy, revision=numbers[policy.name], text=texts[file], digest=digests[policy.name]
        )
        for file, policy in policies.items()
    }


def parse_policy(text: str, name_hint: str = "", place: str = "policy") -> Policy:
    """Check one policy's text. Raises InvalidInput whose places are `place:line: path`.

    `name_hint` is the name that is offered when the text has none. Regions and signals are not looked up:
    `compile_plan` does that.
    """
    return policy_of(read_document(text, place), name_hint)


class _Problems:
    """Collects the problems of many files, so that one look shows all of them."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, problem: Problem) -> None:
        self._problems.append(problem)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Whatever InvalidInput names inside is collected instead of raised."""
        try:
            yield
        except InvalidInput as error:
            self._problems += error.problems or (Problem("", str(error)),)

    def of(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """Return what `read` does, or None when its problems were collected."""
        with self.noted():
            return read(*arguments, **named)
        return None

    def __bool__(self) -> bool:
        return bool(self._problems)

    def error(self, directory: Path) -> InvalidInput:
        """Make one error of everything that was collected."""
        wrong = f"{len(self._problems)} wrong place{'s' if len(self._problems) > 1 else ''}"
        return InvalidInput(f"The configuration in {directory} has {wrong}.", tuple(self._problems))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def names_of_files(directory: Path) -> tuple[str, ...]:
    """List the files of a configuration, relative to `directory`; hidden ones are an editor's."""
    found = sorted(path.name for path in directory.glob("policies/*") if not path.name.startswith("."))
    return (REGIONS, *(f"policies/{name}" for name in found if name.endswith((".yaml", ".yml"))))


def _read_files(directory: Path, found: _Problems, *, begun: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    names = names_of_files(directory)
    for name in dict.fromkeys((*names, SIGNALS) if begun else names):
        with found.noted():
            texts[name] = _read_file(directory, name)
    if begun and not any(name.startswith("policies/") and name != SIGNALS for name in names):
        found.add(
            Problem("policies/", f"there is no policy in {directory / 'policies'}: rollout policy init")
        )
    return texts


def _read_file(directory: Path, name: str) -> str:
    path = directory / name
    try:
        if name.endswith(".yml"):
            problem = f"would not be read; rename it to {Path(name).stem}.yaml"
        elif path.exists() and not path.is_file():
            problem = f"is not a file; remove {path}"
        else:
            with path.open("rb") as file:
                return decode(file.read(MAX_BYTES + 1), name)
    except FileNotFoundError:
        problem = f"there is no file {path}; create it, or name another directory with ROLLOUT_CONFIG"
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}; mend its permissions"
    raise InvalidInput(f"{name} cannot be read.", (Problem(name, problem),))


def _policies(documents: Mapping[str, Document], found: _Problems) -> dict[str, Policy]:
    """Policies by file name; two with one name are a problem of the later file."""
    policies: dict[str, Policy] = {}
    for name, document in documents.items():
        if name in (REGIONS, SIGNALS):
            continue
        policy = found.of(policy_of, document, Path(name).stem)
        if policy is None:
            continue
        other = next((file for file, known in policies.items() if known.name == policy.name), None)
        if other:
            found.add(
                document.at(Problem("name", f"the policy '{policy.name}' is in {other} too; rename one"))
            )
        else:
            policies[name] = policy
    return policies
