"""Source `scrape`: asks every instance itself, in Prometheus text format; no metrics server is needed.

Here: HTTP and its limits. What an answer means is in scrape_reading.py.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import httpx
from pydantic import Field

from rollout.core.errors import TransientError
from rollout.core.model import Instance
from rollout.ports import Ask, Found, Reading
from rollout.registry import SOURCES, Options, Surroundings
from rollout.sources.exposition import Exposition, parse
from rollout.sources.scrape_cursor import Cursor
from rollout.sources.scrape_found import look
from rollout.sources.scrape_reading import merge
from rollout.sources.scrape_signals import KIND, LabelName, Meaning, ScrapeSignal, meaning

AT_ONCE = 64  # below the connection limit of the client, so that waiting for it never counts as slowness
HEADERS = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "identity"}


class ScrapeOptions(Options):
    """Where and how long to ask. `max_bytes` limits what one instance may answer."""

    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/metrics"
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 1.0
    max_bytes: Annotated[int, Field(ge=1024, le=64_000_000)] = 4_000_000
    version_label: LabelName = "version"


@SOURCES.register(KIND, ScrapeOptions)
class ScrapeSource:
    """Reads the instances of a service, all at once, and differences their counters."""

    signal_options: ClassVar[type[ScrapeSignal]] = ScrapeSignal

    def __init__(self, options: ScrapeOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._http = surroundings.http

    async def collect(self, ask: Ask) -> Reading:
        """One reading; see ports. Also raises InvalidInput when a signal is written wrong."""
        if not ask.instances:
            raise TransientError(f"The deployer reports no instance of {ask.service} in {ask.region}.")
        meanings, unread = _meanings(ask)
        cursor, forgotten = _cursor(ask)
        if cursor.at is not None and ask.now <= cursor.at:
            problem = (
                f"The clock says {ask.now.isoformat()}, and the last reading was at {cursor.at.isoformat()}; "
                "nothing was read. Check the clock of the controller."
            )
            return Reading(samples=(), cursor=ask.cursor, problems=(problem,))
        slots = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._answer(instance, slots) for instance in ask.instances))
        reading = merge(ask, meanings, cursor, answers, self._options.version_label)
        return replace(reading, problems=(*forgotten, *unread, *reading.problems))

    async def found(self, ask: Ask) -> tuple[Found, ...]:
        """What every instance exposes of each signal now; see ports."""
        slots = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._answer(instance, slots) for instance in ask.instances))
        meanings = [found for signal in ask.signals if (found := meaning(signal)) and not found.unreadable]
        return look(ask, meanings, answers, self._options.version_label)

    async def _answer(self, instance: Instance, slots: asyncio.Semaphore) -> Exposition | TransientError:
        """What one instance exposes, or why it gives nothing this time; never raises for its sake."""
        try:
            async with slots:
                body = await self._body(instance)
            return await asyncio.to_thread(parse, body)  # a second of work for the largest answer
        except TransientError as error:
            return error

    async def _body(self, instance: Instance) -> bytes:
        if not instance.url:
            raise TransientError("has no address to ask")
        url = instance.url.rstrip("/") + self._options.path
        timeout_s = self._options.timeout_s
        try:
            async with (
                asyncio.timeout(timeout_s),  # of the whole answer; httpx limits only each single wait
                self._http.stream("GET", url, headers=HEADERS, timeout=timeout_s) as response,
            ):
                _refuse_head(response)
                return await self._limited(response)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransientError(f"did not answer {url} within {timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = str(error) or type(error).__name__
            raise TransientError(f"could not be asked at {url}: {cause[:160]}") from error

    async def _limited(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._options.max_bytes:
                raise TransientError(
                    f"answered more than {self._options.max_bytes} bytes; expose less, or raise max_bytes"
                )
        return bytes(body)


def _refuse_head(response: httpx.Response) -> None:
    """Raise TransientError for an answer that is no metrics, before reading it."""
    if response.status_code != 200:
        raise TransientError(f"answered HTTP {response.status_code} instead of its metrics")
    kind = response.headers.get("content-type", "text/plain")
    if kind.partition(";")[0].strip().lower() != "text/plain":
        raise TransientError(f"answered {kind[:80]} instead of text/plain; check the path")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TransientError("answered compressed content, which was not asked for")


def _cursor(ask: Ask) -> tuple[Cursor, Sequence[str]]:
    """What was remembered; one that is not ours is left behind, with a sentence."""
    cursor = Cursor.load(ask.cursor)
    if cursor is not None:
        return cursor, ()
    return Cursor(), (f"What was remembered of {ask.region} is not of '{KIND}'; counting begins anew.",)


def _meanings(ask: Ask) -> tuple[Sequence[Meaning], Sequence[str]]:
    """How to read each signal, and a sentence for each that cannot be read by this source."""
    meanings: list[Meaning] = []
    unread = []
    for signal in ask.signals:
        found = meaning(signal)
        if found is not None and not found.unreadable:
            meanings.append(found)
            continue
        why = (
            found.unreadable
            if found
            else (f"it does not say how '{KIND}' reads it. Add '{KIND}:' to it in policies/signals.yaml.")
        )
        unread.append(f"Signal {signal.name} is not read in {ask.region}: {why}")
    return meanings, unread
