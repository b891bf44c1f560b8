"""Who may do what: roles, bearer tokens and page sessions. Nothing is anonymous.

Tokens and sessions are 256 random bits, shown once and stored as SHA-256 (they are no passwords, so a slow
hash buys nothing). What must not live here: HTTP (api/deps.py).
"""

import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from rollout.core.errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated, NotFound, Problem
from rollout.core.model import CONTROLLER
from rollout.ids import new_id
from rollout.ports import Clock, Store, Token

TOKEN_DAYS = 90
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"
FIRST_ADMIN = "first-admin"
SESSION_HOURS = 12


class Permission(StrEnum):
    """What a route declares; a route without one fails a test."""

    OPEN = "open"  # no token: liveness and the login form
    READ = "read"
    START = "start"  # start, cancel, retry
    ROLL_BACK = "roll_back"
    DECIDE = "decide"  # approve, reject, hold, resume, promote
    REPORT = "report"  # notes, results of gates
    ADMIN = "admin"  # services, adopt, tokens


ROLES: dict[str, frozenset[Permission]] = {
    "viewer": frozenset({Permission.READ}),
    "deployer": frozenset({Permission.READ, Permission.START, Permission.ROLL_BACK, Permission.REPORT}),
    "approver": frozenset({Permission.READ, Permission.DECIDE, Permission.ROLL_BACK, Permission.REPORT}),
    "admin": frozenset(Permission),
}


def check(token: Token, permission: Permission) -> None:
    """Raise NotAllowed, naming the roles that have `permission`."""
    if permission is Permission.OPEN or permission in ROLES[token.role]:
        return
    having = ", ".join(name for name, may in ROLES.items() if permission in may)
    raise NotAllowed(f"This needs one of the roles {having}; the token '{token.name}' is {token.role}.")


def check_service(token: Token, service: str) -> None:
    """Raise NotAllowed when the token is narrowed to other services."""
    if token.services and service not in token.services:
        raise NotAllowed(
            f"The token '{token.name}' is narrowed to {', '.join(token.services)}, not {service}."
        )


def check_grant(token: Token, services: Sequence[str]) -> None:
    """Raise NotAllowed when a narrowed token would manage one that reaches further; no services is all."""
    if token.services and not (services and set(services) <= set(token.services)):
        raise NotAllowed(
            f"The token '{token.name}' is narrowed to {', '.join(token.services)}, and can make only tokens "
            "that are narrowed to some of these."
        )


class Access:
    """Creates and checks tokens and sessions."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def create_token(
        self,
        name: str,
        role: str,
        *,
        groups: Sequence[str] = (),
        services: Sequence[str] = (),
        days: int = TOKEN_DAYS,
    ) -> tuple[Token, str]:
        """A new token and its secret, which is shown only here.

        Raises InvalidInput for an unknown role or a name that cannot be one, and Conflict for a name that
        another valid token has.
        """
        token, secret = self._token(name, role, groups, services, days), _secret("rot_")
        await self._store.add_token(token, _hash(secret))
        return token, secret

    def _token(
        self, name: str, role: str, groups: Sequence[str], services: Sequence[str], days: int
    ) -> Token:
        if role not in ROLES:
            known = ", ".join(ROLES)
            raise InvalidInput(f"Unknown role '{role}'.", (Problem("/role", f"one of {known}"),))
        _refuse_name(name)
        now = self._clock.now()
        return Token(
            id=new_id("to", now),
            name=name,
            role=role,
            groups=tuple(groups),
            services=tuple(services),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )

    async def authenticate(self, secret: str) -> Token:
        """The token of a secret. Raises NotAuthenticated when unknown, expired or revoked."""
        token = await self._store.token(_hash(secret)) if _well_formed(secret, "rot_") else None
        if token is None:
            raise NotAuthenticated(
                "The token is not known. Create one with `rollout token create`, or check ROLLOUT_TOKEN."
            )
        _refuse_ended(token, self._clock.now())
        return token

    async def tokens(self, by: Token) -> tuple[Token, ...]:
        """The tokens that `by` may manage, oldest first, ended ones too."""
        reach = set(by.services)
        found = await self._store.tokens()
        return tuple(t for t in found if not reach or (t.services and set(t.services) <= reach))

    async def revoke(self, token_id: str, by: Token) -> None:
        """End a token and its sessions at once. Raises NotFound, also for one that `by` may not manage."""
        if token_id not in {token.id for token in await self.tokens(by)}:
            raise NotFound("token", token_id)
        await self._store.revoke_token(token_id, self._clock.now())

    async def first_admin(self, file: Path) -> bool:
        """Create the first admin token, once, into a file that only its owner reads. True when it was.

        The file comes first: after a crash in between, the next start finds no token and writes a new one.
        """
        if await self._store.tokens():
            return False
        token, secret = self._token(FIRST_ADMIN, "admin", (), (), TOKEN_DAYS), _secret("rot_")
        _write_secret(file, secret)
        try:
            await self._store.add_token(token, _hash(secret))
        except Conflict:  # another replica that started at the same moment was first
            _take_away(file)
            return False
        return True

    async def log_in(self, secret: str) -> tuple[Token, str]:
        """A page session for a token: the token and the session's secret. Raises NotAuthenticated."""
        token = await self.authenticate(secret)
        session = _secret("ros_")
        expires = self._clock.now() + timedelta(hours=SESSION_HOURS)
        await self._store.add_session(_hash(session), token.id, secrets.token_urlsafe(24), expires)
        return token, session

    async def session(self, session: str) -> tuple[Token, str]:
        """The token and the CSRF token of a session. Raises NotAuthenticated when it is over."""
        now = self._clock.now()
        found = await self._store.session(_hash(session), now) if _well_formed(session, "ros_") else None
        if found is None:
            raise NotAuthenticated("The session is over; log in again.")
        _refuse_ended(found[0], now)
        return found

    async def log_out(self, session: str) -> None:
        """End a session."""
        await self._store.end_session(_hash(session))


def _refuse_name(name: str) -> None:
    """Raise InvalidInput for the controller's own name, and for one that only looks like another's."""
    if name == CONTROLLER:
        wrong = f"'{CONTROLLER}' is the name of the controller itself; take another one"
    elif not re.fullmatch(NAME_PATTERN, name):
        wrong = "letters, digits and ._@+-, beginning with a letter or digit, 64 at most"
    else:
        return
    raise InvalidInput(f"A token cannot be named '{name}'.", (Problem("/name", wrong),))


def _take_away(file: Path) -> None:
    file.unlink(missing_ok=True)


def _write_secret(file: Path, secret: str) -> None:
    """Replace what the file holds; it is on the disk, and its owner's alone, when this returns."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(secret + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _secret(prefix: str) -> str:
    body = secrets.token_urlsafe(32)
    return f"{prefix}{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _well_formed(secret: str, prefix: str) -> bool:
    """Whether the checksum fits: a typing error or a cut token is refused without asking the database."""
    body = secret.removeprefix(prefix)
    return secret.startswith(prefix) and len(body) > 8 and _checksum(body[:-8]) == body[-8:]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _refuse_ended(token: Token, now: datetime) -> None:
    if token.revoked_at is not None:
        raise NotAuthenticated(f"The token '{token.name}' was revoked.")
    if token.expires_at is not None and token.expires_at <= now:
        raise NotAuthenticated(f"The token '{token.name}' expired at {token.expires_at:%Y-%m-%d %H:%M} UTC.")
