"""Settings of one process, from flags or the environment (ROLLOUT_*); docs/settings.md lists them all."""

import ipaddress
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

import rollout
from rollout.core.errors import InvalidInput, Problem
from rollout.explain import explain

_PREFIX = "ROLLOUT_"
DEFAULT_POSITION = Path(rollout.__file__).parent


def default_directory() -> Path:
    """Where the configuration is when nobody says: here, else the wheel's defaults, else the repository."""
    here = Path.cwd()
    choices = (here, DEFAULT_POSITION / "defaults")
    return next((path for path in choices if (path / "regions.yaml").is_file()), DEFAULT_POSITION.parent)


class Settings(BaseSettings):
    """Frozen once read. Read it with `load_settings`, which says what is wrong in words."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    config: Path = Field(
        default_factory=default_directory, description="Directory with regions.yaml and policies/."
    )
    data: Path = Field(
        default=Path("var"), description="Directory for the database and other files that are kept."
    )
    database_url: str = Field(
        default="",
        repr=False,
        description="URL of the database; empty is SQLite in the data directory.",
    )
    database_url_file: Path | None = Field(
        default=None,
        description="File with the URL of the database, which keeps its password out of the environment.",
    )
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; see allow_remote."
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_remote: bool = Field(
        default=False,
        description="Permit a host that other machines reach; only behind TLS and a proxy.",
    )
    url: str = Field(
        default="",
        description="Public URL of the server: in links that it sends, and what the CLI talks to; "
        "empty is http://host:port.",
    )
    tick_s: float = Field(
        default=1.0, ge=0.05, le=60, description="Seconds between two looks for work that is due."
    )
    collect_s: float = Field(
        default=10.0, ge=1, le=3600, description="Seconds between two readings of a region without a rollout."
    )
    lease_s: float = Field(
        default=15.0,
        ge=1,
        le=300,
        description="Seconds after which the services of a replica that is gone are taken over by another.",
    )
    samples_keep_s: float = Field(
        default=86400.0, ge=3600, description="Seconds for which samples are kept as they came; 24 hours."
    )
    samples_bytes_per_service: int = Field(
        default=250_000_000,
        ge=1_000_000,
        description="Bytes that the samples of one service may take; more than that are deleted earlier.",
    )
    history_fine_days: int = Field(
        default=15, ge=1, le=400, description="Days for which history is kept in blocks of 60 s."
    )
    history_keep_days: int = Field(
        default=35, ge=1, le=400, description="Days for which history is kept at all."
    )
    history_bytes_per_service_day: int = Field(
        default=8_000_000,
        ge=100_000,
        description="Bytes that one day of history of one service may take; a larger day is thinned.",
    )
    database_bytes: int = Field(
        default=10_000_000_000,
        ge=100_000_000,
        description="Bytes that the database may take; beyond it the largest service loses its oldest day.",
    )
    rollouts_keep_days: int = Field(
        default=400, ge=1, le=4000, description="Days after its end for which a rollout is kept, whole."
    )
    known_good_key_file: Path | None = Field(
        default=None,
        description="File with the key that signs known-good.json; empty is known-good.key in the data "
        "directory.",
    )
    tokens_keep_days: int = Field(
        default=400, ge=1, le=4000, description="Days for which an expired or revoked token is kept."
    )
    idempotency_keep_s: float = Field(
        default=86400.0,
        ge=86400,
        description="Seconds for which a request with an Idempotency-Key, and its answer, is kept; 24 hours.",
    )
    streams_max: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Event streams and waiting requests that may be open at once.",
    )
    token: SecretStr | None = Field(
        default=None, description="Bearer token of the CLI; token_file keeps it out of the environment."
    )
    token_file: Path | None = Field(default=None, description="File with the bearer token of the CLI.")
    heartbeat_url: SecretStr | None = Field(
        default=None,
        description="URL that is called while the controller is healthy, so that its silence wakes somebody.",
    )
    heartbeat_url_file: Path | None = Field(
        default=None, description="File with heartbeat_url; an empty file is none."
    )
    heartbeat_every_s: float = Field(
        default=60.0, ge=1, le=3600, description="Seconds between two calls of heartbeat_url."
    )
    heartbeat_method: Literal["GET", "POST"] = Field(
        default="GET", description="How heartbeat_url is called: GET or POST."
    )
    notify_url: SecretStr | None = Field(
        default=None,
        description="URL to which every notice is posted, signed, beside the log.",
    )
    notify_secret: SecretStr | None = Field(
        default=None,
        description="Secret that signs what is posted to notify_url; notify_secret_file keeps it out of the "
        "environment.",
    )
    notify_secret_file: Path | None = Field(
        default=None, description="File with the secret that signs what is posted to notify_url."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="Form of log lines: json, pretty, or auto (pretty on a terminal)."
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
            raise ValueError(f"'{value}' is not a URL such as https://rollout.example")
        return value

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, values: Any) -> Any:
        """Make directories absolute, so that a later change of directory moves nothing."""
        data = Path(values.get("data") or "var").absolute()
        found = {**values, "data": data}
        if values.get("config"):
            found["config"] = Path(values["config"]).absolute()
        url = values.get("database_url") or _first_line(values.get("database_url_file"))
        found["database_url"] = url or f"sqlite:///{data / 'rollout.db'}"
        return found

    @property
    def known_good(self) -> Path:
        """The signed file of what is known good where."""
        return self.data / "known-good.json"

    @property
    def known_good_key(self) -> Path:
        """The file with the key that signs it."""
        return self.known_good_key_file or self.data / "known-good.key"

    @property
    def emergencies(self) -> Path:
        """The signed record of what was ordered without a database."""
        return self.data / "emergency.jsonl"

    @property
    def revisions(self) -> Path:
        """The file in which an earlier version numbered the revisions of policies."""
        return self.data / "policy-revisions.json"

    @property
    def newest_event(self) -> Path:
        """The file that says how far history came, so that an older database is seen."""
        return self.data / "newest-event"

    @property
    def public_url(self) -> str:
        """`url`, or what the host and port make, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    def called_while_healthy(self) -> str | None:
        """Return `heartbeat_url`, else what its file holds. Raises InvalidInput, without what is written."""
        place, url = "ROLLOUT_HEARTBEAT_URL", ""
        if self.heartbeat_url is not None:
            url = self.heartbeat_url.get_secret_value()
        elif self.heartbeat_url_file is not None:
            place = f"ROLLOUT_HEARTBEAT_URL_FILE, {self.heartbeat_url_file},"
            try:
                url = self.heartbeat_url_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{place} cannot be read: {error}. Mend it, or unset it.") from error
        if url and not re.fullmatch(r"https?://[^\s/?#]+\S*", url):
            raise InvalidInput(f"{place} holds no URL. Write one such as https://hc.example/ping/…")
        return url or None

    def notified(self) -> dict[str, str] | None:
        """The options of the notifier `webhook`, None where no URL is set. Raises InvalidInput."""
        if self.notify_url is None:
            return None
        if self.notify_secret is None and self.notify_secret_file is None:
            raise InvalidInput(
                "ROLLOUT_NOTIFY_URL is set, and nothing signs what is posted there. Set "
                "ROLLOUT_NOTIFY_SECRET_FILE, or ROLLOUT_NOTIFY_SECRET: whsec_ and base64 of 24 to 64 bytes."
            )
        url = self.notify_url.get_secret_value()
        if not re.fullmatch(r"https?://[^\s/?#@]+([/?#]\S*)?", url):
            raise InvalidInput(
                "ROLLOUT_NOTIFY_URL holds no URL that can be posted to. Write one such as "
                "https://hooks.example/rollout, without a password: what is posted is signed."
            )
        if self.notify_secret is not None:
            return {"url": url, "secret_env": f"{_PREFIX}NOTIFY_SECRET"}
        return {"url": url, "secret_file": str(Path(self.notify_secret_file or "").absolute())}

    def bearer_token(self) -> str | None:
        """Return `token`, else what `token_file` holds. Raises InvalidInput when that cannot be read."""
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is None:
            return None
        try:
            return self.token_file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"The token file {self.token_file} cannot be read: {error}. Mend it, or set ROLLOUT_TOKEN."
            ) from error


def load_settings(**flags: Any) -> Settings:
    """Take `flags` (None is not given), else the environment, else defaults. Raises InvalidInput."""
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        problems = tuple(
            Problem(f"{_PREFIX}{problem.place.upper()}", problem.message)
            for problem in explain(error, Settings)
        )
        raise InvalidInput("The settings cannot be used.", problems) from error
    if not settings.allow_remote and not _loopback(settings.host):
        raise InvalidInput(
            f"Other machines could reach the host {settings.host}, without TLS. Listen on 127.0.0.1, "
            "or put a proxy with TLS in front and set ROLLOUT_ALLOW_REMOTE=true.",
            (Problem("ROLLOUT_HOST", f"'{settings.host}' is not an address of this machine alone"),),
        )
    return settings


def _first_line(file: Any) -> str:
    """What a file that is named holds. Raises ValueError when it cannot be read or holds nothing."""
    if not file:
        return ""
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"ROLLOUT_DATABASE_URL_FILE, {file}, cannot be read: {error}") from error
    if not found:
        raise ValueError(f"ROLLOUT_DATABASE_URL_FILE, {file}, is empty; write postgresql://… into it")
    return found


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
