"""What `postgresql://user:password@host:5432,other:5432/database?sslmode=verify-full` says, and nothing else.

The words are those of PostgreSQL's own client library, so that a URL that works there works here.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from rollout.core.errors import StoreError

PORT = 5432
_URL = re.compile(
    r"(?:postgresql|postgres)(?:\+pg8000)?://(?:(?P<who>[^@/?]*(?:@[^@/?]*)*)@)?"
    r"(?P<hosts>[^@/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?"
)
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::(?P<port>\d+))?")
_OPTIONS = ("connect_timeout", "host", "port", "sslmode", "sslrootcert", "target_session_attrs")
_SSL = ("disable", "prefer", "require", "verify-ca", "verify-full")
_EXAMPLE = "Write postgresql://user:password@host/database"


@dataclass(frozen=True, slots=True)
class Host:
    """Where one server listens: a name and a port, or the directory of its socket."""

    name: str
    port: int

    @property
    def socket(self) -> str | None:
        """The path of the socket, for a directory."""
        return f"{self.name}/.s.PGSQL.{self.port}" if self.name.startswith("/") else None

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Which database, as whom, and on which of several servers: the first that can be written."""

    hosts: tuple[Host, ...]
    user: str
    password: str | None = field(repr=False)
    database: str
    connect_s: float
    sslmode: str
    sslrootcert: str | None

    def __str__(self) -> str:
        """The URL without its password."""
        hosts = ",".join(map(str, self.hosts))
        return f"postgresql://{self.user}@{hosts}/{self.database}"

    def tls(self) -> ssl.SSLContext | bool | None:
        """What the driver is told: False never, None where the server can, a context always.

        Raises StoreError when the file of certificates cannot be read.
        """
        if self.sslmode in ("disable", "prefer"):
            return False if self.sslmode == "disable" else None
        try:
            context = ssl.create_default_context(cafile=self.sslrootcert)
        except (OSError, ssl.SSLError) as error:
            raise StoreError(f"The certificates in '{self.sslrootcert}' cannot be read: {error}.") from error
        context.check_hostname = self.sslmode == "verify-full"
        if self.sslmode == "require" and self.sslrootcert is None:
            context.verify_mode = ssl.CERT_NONE
        return context


def is_postgres(url: str) -> bool:
    """Whether a URL is for PostgreSQL."""
    return re.match(r"postgres(ql)?(\+\w+)?:", url) is not None


def read_url(url: str) -> Address:
    """Read a URL. Raises StoreError, in which no part of the URL is repeated that may hold a password."""
    found = _URL.fullmatch(url)
    if found is None:
        raise StoreError(f"The database URL is no URL of PostgreSQL. {_EXAMPLE}.")
    options = _options(found["options"] or "")
    user, _, password = (found["who"] or "").partition(":")
    database = unquote(found["database"] or "")
    if not user or not database:
        raise StoreError(f"The database URL names no {'user' if not user else 'database'}. {_EXAMPLE}.")
    return Address(
        hosts=_hosts(found["hosts"], options),
        user=unquote(user),
        password=unquote(password) or None,
        database=database,
        connect_s=float(_number(options, "connect_timeout", "5")),
        sslmode=_one_of(options, "sslmode", _SSL, "prefer"),
        sslrootcert=options.get("sslrootcert"),
    )


def _options(text: str) -> dict[str, str]:
    given = parse_qs(text, keep_blank_values=True)
    unknown = sorted(given.keys() - set(_OPTIONS))
    if unknown:
        raise StoreError(
            f"The database URL has the options {', '.join(unknown)}, which are not known here. Known are: "
            f"{', '.join(_OPTIONS)}."
        )
    options = {name: ",".join(values) for name, values in given.items()}
    _one_of(options, "target_session_attrs", ("read-write", "primary"), "read-write")
    return options


def _hosts(written: str, options: Mapping[str, str]) -> tuple[Host, ...]:
    port = int(_number(options, "port", str(PORT)))
    parts = (options.get("host") or written or "localhost").split(",")
    found = [_HOST.fullmatch(part) for part in parts]
    if not all(found):
        raise StoreError(f"The database URL has a host that cannot be read. {_EXAMPLE}.")
    return tuple(
        Host(each["name"].strip("[]") or "localhost", int(each["port"] or port)) for each in found if each
    )


def _number(options: Mapping[str, str], name: str, default: str) -> str:
    value = options.get(name, default)
    if not value.isascii() or not value.isdigit() or int(value) == 0:
        raise StoreError(f"The option {name} of the database URL is no whole number above 0.")
    return value


def _one_of(options: Mapping[str, Any], name: str, known: tuple[str, ...], default: str) -> str:
    value = str(options.get(name, default))
    if value not in known:
        raise StoreError(f"The option {name} of the database URL is none of: {', '.join(known)}.")
    return value
