"""Asking over HTTP within bounds of time and bytes, with a secret that is named and not written.

For plugins that read a server of somebody else. What must not live here: what an answer means, and requests
that change anything (they are not simply asked again).
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import Field, model_validator

from rollout.core.errors import PermanentError, TransientError
from rollout.registry import Options

SHORT = 8  # digits of a number of seconds that is worth a word
SAID = 200  # characters of what a server says that are passed on
NEXT_TIME = {408, 425, 429}  # of the answers below 500, those that another try may change

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderValue = Annotated[str, Field(pattern=r"^[!-~]+( [!-~]+)*$", max_length=500)]


class TooMuch(TransientError):
    """The answer is larger than `max_bytes`; a shorter stretch of time may fit."""


class Credentials(Options):
    """Who asks, and how much is waited for. Secrets are named, not written: a variable or a file."""

    token_env: EnvName | None = None
    token_file: str | None = None
    username: HeaderValue | None = None
    password_env: EnvName | None = None
    password_file: str | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 4.0
    max_bytes: Annotated[int, Field(ge=1024, le=256_000_000)] = 10_000_000

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        tokens = [name for name in ("token_env", "token_file") if getattr(self, name)]
        passwords = [name for name in ("password_env", "password_file") if getattr(self, name)]
        if len(tokens + passwords) > 1:
            raise ValueError(f"says {' and '.join(tokens + passwords)}; one secret is enough")
        if bool(self.username) != bool(passwords):
            raise ValueError("basic auth needs username and one of password_env, password_file")
        return self

    def authorization(self, who: str, directory: Path) -> dict[str, str]:
        """The header with the secret, or nothing. Raises PermanentError when a secret cannot be read.

        Files are read each time, since those who rotate a secret write a new one. `who` is asked.
        """
        if self.token_env or self.token_file:
            return {"Authorization": f"Bearer {_secret(self.token_env, self.token_file, who, directory)}"}
        if not self.username:
            return {}
        password = _secret(self.password_env, self.password_file, who, directory)
        request = httpx.Request("GET", "http://nowhere")
        next(httpx.BasicAuth(self.username, password).auth_flow(request))
        return {"Authorization": request.headers["Authorization"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request. `who` is asked, as people call it; `mend` is said where the answer is too large."""

    who: str
    url: str
    limit_s: float
    max_bytes: int
    mend: str
    method: Literal["GET", "POST"] = "GET"
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


async def asked(http: httpx.AsyncClient, question: Question) -> tuple[httpx.Response, bytes]:
    """The head of the answer and its whole body, whatever its status.

    Raises TransientError when it takes too long, cannot be had or comes compressed (a few bytes could become
    gigabytes before anybody counts them), and TooMuch for one that is too large.
    """
    who, url, limit_s = question.who, question.url, question.limit_s
    try:
        async with (
            asyncio.timeout(limit_s),  # of the whole answer; httpx limits only each single wait
            http.stream(
                question.method,
                url,
                params=dict(question.params) if question.params else None,
                headers={"Accept-Encoding": "identity", **question.headers},
                content=question.content,
                timeout=limit_s,
            ) as response,
        ):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise TransientError(f"{who} at {url} answered compressed content, which was not asked for.")
            return response, await _limited(response, question)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TransientError(f"{who} did not answer {url} within {limit_s:g} s.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        cause = str(error) or type(error).__name__
        raise TransientError(f"{who} could not be asked at {url}: {cause[:SAID]}.") from error


async def _limited(response: httpx.Response, question: Question) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > question.max_bytes:
            raise TooMuch(
                f"{question.who} answered more than {question.max_bytes} bytes; {question.mend}, "
                "or raise max_bytes."
            )
    return bytes(body)


def refuse_status(who: str, url: str, response: httpx.Response, check: str, reason: str = "") -> None:
    """Raise PermanentError or TransientError for an answer that is not 200; `check` is what to look at."""
    status = response.status_code
    if status == 200:
        return
    if status in (401, 403):
        raise PermanentError(f"{who} at {url} refused with HTTP {status}; check {check} here.")
    if 300 <= status < 400:
        place = response.headers.get("location", "nowhere")
        raise PermanentError(f"{who} at {url} redirects to {place[:SAID]}; write that address as url.")
    again = status >= 500 or status in NEXT_TIME
    found = TransientError if again else PermanentError
    wait = response.headers.get("retry-after", "")
    later = f"; it asks to come back after {wait} s" if wait.isdecimal() and len(wait) < SHORT else ""
    raise found(f"{who} at {url} answered HTTP {status}: {reason or 'no reason was given'}{later}.")


def refuse_page(who: str, url: str, response: httpx.Response, kinds: tuple[str, ...]) -> None:
    """Raise TransientError for an answer that is a page of a proxy, say, and not one of `kinds`."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise TransientError(
            f"{who} at {url} answered {kind[:80] or 'no content type'} instead of {kinds[0]}; "
            "check that url is the address of its API."
        )


def _secret(env: str | None, file: str | None, who: str, directory: Path) -> str:
    if env is not None:
        place, secret = f"the environment variable {env}", os.environ.get(env, "")
    else:
        assert file is not None, "a secret is named in one of two ways"
        place = f"the file {file}"
        try:
            secret = (directory / file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentError(f"The secret for {who} is not readable in {place}: {error}.") from error
    if not (secret := secret.strip()):
        raise PermanentError(f"The secret for {who} is empty: set {place}.")
    if not (secret.isascii() and secret.isprintable()):
        raise PermanentError(f"The secret for {who} in {place} has characters that no header may have.")
    return secret


def error_in(written: Any) -> str:
    """What an error answer says of itself, of the JSON object that it is; a page says nothing here."""
    said = written.get("error") if isinstance(written, Mapping) else None
    return str(said)[:SAID].rstrip(".") if said else ""
