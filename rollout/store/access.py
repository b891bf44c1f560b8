"""Tokens and sessions. Only hashes of secrets come here."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, or_, select, update

from rollout.core.errors import Conflict, NotFound
from rollout.ports import Token
from rollout.store import mapping, tables
from rollout.store.writing import add

_T, _S = tables.tokens, tables.sessions


def add_token(conn: Connection, token: Token, secret_hash: str) -> None:
    """Store a token. Raises Conflict when its id or its secret is known, or its name is in use.

    A name stands for one person or program (who approves may not be who asked), so only a token that was
    revoked, or has expired, leaves its name to another.
    """
    if conn.execute(select(_T.c.id).where(or_(_T.c.id == token.id, _T.c.secret_hash == secret_hash))).first():
        raise Conflict(f"There is already a token '{token.id}', or one with the same secret.", "exists")
    valid = (_T.c.revoked_at.is_(None), or_(_T.c.expires_at.is_(None), _T.c.expires_at > token.created_at))
    same = func.lower(_T.c.name) == token.name.lower()  # `Dana` and `dana` are no two people
    other = _token(conn.execute(select(_T).where(same, *valid)).first())
    if other is not None:
        until = f", valid until {other.expires_at:%Y-%m-%d %H:%M} UTC" if other.expires_at else ""
        raise Conflict(
            f"The name '{other.name}' is taken by the token {other.id} ({other.role}{until}); approvals tell "
            "people apart by it. Take another name, or revoke that token first.",
            "name-taken",
        )
    add(conn, _T, [mapping.TOKEN.row(token, secret_hash=secret_hash)])


def token(conn: Connection, secret_hash: str) -> Token | None:
    """The token of a secret, also when it has expired or was revoked."""
    return _token(conn.execute(select(_T).where(_T.c.secret_hash == secret_hash)).one_or_none())


def _token(row: Row[Any] | None) -> Token | None:
    return None if row is None else mapping.TOKEN.noun(row)


def tokens(conn: Connection) -> tuple[Token, ...]:
    """All tokens, oldest first."""
    found = conn.execute(select(_T).order_by(_T.c.created_at, _T.c.id))
    return tuple(mapping.TOKEN.noun(row) for row in found)


def revoke(conn: Connection, token_id: str, at: datetime) -> None:
    """End a token and its sessions; the first time stays. Raises NotFound."""
    if conn.execute(select(_T.c.id).where(_T.c.id == token_id)).first() is None:
        raise NotFound("token", token_id)
    conn.execute(update(_T).where(_T.c.id == token_id, _T.c.revoked_at.is_(None)).values(revoked_at=at))
    conn.execute(delete(_S).where(_S.c.token_id == token_id))


def add_session(conn: Connection, session_hash: str, token_id: str, csrf: str, expires_at: datetime) -> None:
    """Sign a browser in with a token. Raises NotFound for an unknown token."""
    if conn.execute(select(_T.c.id).where(_T.c.id == token_id)).first() is None:
        raise NotFound("token", token_id)
    row = {"session_hash": session_hash, "token_id": token_id, "csrf": csrf, "expires_at": expires_at}
    add(conn, _S, [row])


def session(conn: Connection, session_hash: str, now: datetime) -> tuple[Token, str] | None:
    """The token and the form secret of a session; None once it, or its token, has ended."""
    found = select(_T, _S.c.csrf).join(_S, _S.c.token_id == _T.c.id)
    valid: tuple[ColumnElement[bool], ...] = (
        _S.c.session_hash == session_hash,
        _S.c.expires_at > now,
        _T.c.revoked_at.is_(None),
        or_(_T.c.expires_at.is_(None), _T.c.expires_at > now),
    )
    row = conn.execute(found.where(*valid)).one_or_none()
    return None if row is None else (mapping.TOKEN.noun(row), row.csrf)


def end_session(conn: Connection, session_hash: str) -> None:
    """Sign out; ending what is not there is fine."""
    conn.execute(delete(_S).where(_S.c.session_hash == session_hash))
