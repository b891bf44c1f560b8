"""known-good.json: what every region can go back to, and how it is reached, signed.

One JSON object with a `body` and the `signature` of its bytes. It is written in exactly one way, so that any
changed byte shows. No secret is in it: options name where those are.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from rollout.core.actions import taken
from rollout.core.errors import Conflict, InvalidInput, NotFound
from rollout.core.model import KnownGood, Plugin, Region, ServiceRegion
from rollout.emergency.seal import Seal, replace_file

FORMAT = 1
MAX_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One service in one region: its fence, and what is known good, the newest first."""

    service: str
    region: str
    generation: int
    known_good: tuple[KnownGood, ...]

    @classmethod
    def of(cls, pair: ServiceRegion) -> Self:
        """What is kept of all that the database knows."""
        return cls(
            service=pair.service,
            region=pair.region,
            generation=max(pair.generation, taken(pair.doubt.seen) if pair.doubt else 0),
            known_good=pair.known_good,
        )

    def target(self, version: str | None) -> KnownGood:
        """The known good named `version`, or the newest. Raises Conflict when there is none."""
        found = next((good for good in self.known_good if version in (None, good.release.version)), None)
        if found is None:
            where = f"{self.service} in {self.region}"
            known = ", ".join(good.release.version for good in self.known_good) or "nothing"
            what = f"{version} is not known good" if version else "Nothing is known good"
            raise Conflict(
                f"{what} for {where}, so it is not restored. Known good: {known}.", "not-known-good"
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything that the file says. `deployers` are as written in regions.yaml."""

    format: int = FORMAT
    written_at: datetime
    deployers: Mapping[str, Plugin]
    pairs: tuple[Pair, ...]

    def pair(self, service: str, region: str) -> Pair:
        """One of them. Raises NotFound with those that are known."""
        for pair in self.pairs:
            if (pair.service, pair.region) == (service, region):
                return pair
        names = sorted({pair.service for pair in self.pairs})
        regions = sorted(pair.region for pair in self.pairs if pair.service == service)
        if regions:
            raise NotFound("region", region, f"Of {service} are known: {', '.join(regions)}.")
        raise NotFound("service", service, f"Known are: {', '.join(names) or 'none'}.")


_KNOWN = TypeAdapter(Known)


def written(known: Known, seal: Seal) -> bytes:
    """The bytes of the file."""
    return _rendered(_KNOWN.dump_python(known, mode="json"), seal)


def _rendered(body: Any, seal: Seal) -> bytes:
    return _plain({"body": body, "signature": seal.sign(_plain(body))})


def _plain(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8", "replace")


def save(path: Path, known: Known, seal: Seal) -> None:
    """Replace the file in one step. Raises OSError."""
    replace_file(path, written(known, seal))


def read(path: Path, seal: Seal) -> Known:
    """Read the file. Raises InvalidInput when it is not there, or is not what was signed with this key."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"There is no {path}. A controller writes it as soon as something is known good; name its "
            "directory with ROLLOUT_DATA."
        ) from error
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}. Run it as the controller's user."
        raise InvalidInput(why) from error
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "body" not in found:
        raise InvalidInput(
            f"{path} is damaged: it is no file of known goods. Use the one of another replica."
        )
    if "signature" not in found:
        raise InvalidInput(f"{path} has no signature, so it is not trusted. Use the one of another replica.")
    if content != _rendered(found["body"], seal):
        raise InvalidInput(
            f"{path} is not as it was signed: it was changed, or signed with another key. It is not trusted; "
            "use the file of another replica, with its key."
        )
    return _validated(path, found["body"])


def _validated(path: Path, body: Any) -> Known:
    try:
        known = _KNOWN.validate_python(body)
    except ValidationError as error:
        raise InvalidInput(f"{path} was written by another version of this program; use that one.") from error
    if known.format != FORMAT:
        why = f"{path} has format {known.format}, and this program knows {FORMAT}. Use the newer program."
        raise InvalidInput(why)
    return known


def known_now(pairs: Iterable[ServiceRegion], regions: Mapping[str, Region], now: datetime) -> Known:
    """What is known of all pairs, with the deployers of their regions."""
    kept = tuple(Pair.of(pair) for pair in pairs if pair.known_good or pair.generation)
    names = {pair.region for pair in kept}
    deployers = {name: region.deployer for name, region in regions.items() if name in names}
    return Known(written_at=now, deployers=deployers, pairs=kept)
