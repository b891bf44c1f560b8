"""`Idempotency-Key`: a repeated request takes effect once and is answered as the first was.

A key is reserved before the handler runs and only for a known token. The effect marks the reservation in
its own transaction (rollout/once.py); the answer is stored before it is sent. So after a crash at any point
the repeated request either runs for the first time, or is told what the first one did.
"""

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import errors
from api.deps import controller_of, reads_of, token_of
from api.errors import KeyReused, RequestRunning, TookEffect
from api.versions import etag
from rollout.core.errors import InvalidInput, OutcomeUnknown, Problem, RolloutError, StoreError
from rollout.once import Answer, Claim, Kept, under
from rollout.ports import Store
from rollout.showing.views import RolloutView

HEADER = "idempotency-key"
REPLAYED = "idempotency-replayed"
KEY_BYTES = 200
ANSWERING_S = 5.0  # what a copy is given between its effect and its answer, before that is made anew
ENDED_MOST = 1000  # copies whose keys could not be freed yet
_KEY = re.compile(rf"[\x21-\x7e]([\x20-\x7e]{{0,{KEY_BYTES - 2}}}[\x21-\x7e])?")
_KEPT_HEADERS = ("content-type", "etag", "location", "link")
_NEVER_KEPT = frozenset({401, 403, 429})  # another token, or the same one later, may be answered otherwise
_ROLLOUT: TypeAdapter[RolloutView] = TypeAdapter(RolloutView)

Handler = Callable[[Request], Awaitable[Response]]


def key_of(request: Request) -> str | None:
    """The key that was sent, if one was. Raises InvalidInput for one that cannot be used."""
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        wrong = f"one key of 1 to {KEY_BYTES} visible ASCII characters, such as a UUID"
        raise InvalidInput(
            "The header Idempotency-Key cannot be used; nothing was changed.",
            (Problem("Idempotency-Key", wrong),),
        )
    return sent[0]


async def once(request: Request, handle: Handler, key: str, *, keeps: bool) -> Response:
    """Answer the request, running it only if no other copy has; without `keeps` no good answer is stored.

    Raises KeyReused, RequestRunning and TookEffect.
    """
    controller = controller_of(request)
    claim = Claim(
        scope=token_of(request).id,
        key=key,
        fingerprint=await _fingerprint(request),
        owner=secrets.token_hex(16),
        at=controller.clock.now(),
    )
    ended: Ended = request.app.state.ended
    try:
        kept = await controller.store.reserve(claim)
        if ended.holds(kept):
            await ended.free(controller.store)
            kept = await controller.store.reserve(claim)
    except StoreError:
        ended.add(claim)  # it may be reserved all the same
        raise
    if kept.owner == claim.owner:
        return await _first(request, handle, claim, keeps=keeps)
    return await _again(request, claim, kept)


class Ended:
    """Copies that ended in this process without an answer, and hold their keys until that is written.

    While the database is away it cannot be: it is tried again when such a key is sent again.
    """

    def __init__(self) -> None:
        self._claims: deque[Claim] = deque(maxlen=ENDED_MOST)  # the oldest are taken over first anyway

    def add(self, claim: Claim) -> None:
        """Remember one that has ended, and does nothing any more."""
        self._claims.append(claim)

    def holds(self, kept: Kept) -> bool:
        """Whether a key is held by one of them."""
        return any(claim.owner == kept.owner for claim in self._claims)

    async def free(self, store: Store) -> None:
        """Free the keys of those that had no effect; ends at the first that cannot be freed now."""
        while self._claims:
            claim = self._claims.popleft()
            try:
                await store.release(claim)
            except StoreError:
                self._claims.append(claim)
                return


async def _first(request: Request, handle: Handler, claim: Claim, *, keeps: bool) -> Response:
    store = controller_of(request).store
    try:
        with under(claim):
            response = await handle(request)
    except (RolloutError, RequestValidationError, HTTPException) as error:
        response = await errors.answer(request, error)
    except Exception:
        await _free(request, claim)
        raise
    if response.status_code >= 500 or response.status_code in _NEVER_KEPT or not (keeps or _failed(response)):
        await _free(request, claim)
        return response
    given = _answer(response)
    try:
        first = await store.keep_answer(claim, given)
    except StoreError as error:
        raise OutcomeUnknown(f"The request was done, and its answer could not be kept: {error}") from error
    return response if first == given else _replayed(first)


async def _free(request: Request, claim: Claim) -> None:
    ended: Ended = request.app.state.ended
    ended.add(claim)
    await ended.free(controller_of(request).store)


async def _again(request: Request, claim: Claim, kept: Kept) -> Response:
    if kept.fingerprint != claim.fingerprint:
        raise KeyReused(
            f"The key '{claim.key}' was used at {kept.started_at:%Y-%m-%d %H:%M:%S} UTC for another request: "
            "its path or its body differs. Use a new key for a new request."
        )
    if kept.answer is not None:
        return _replayed(kept.answer)
    overdue = kept.started_at < claim.at - timedelta(seconds=ANSWERING_S)
    if kept.effect_at is None or (kept.owner and not overdue):
        raise RequestRunning("The first copy of this request is still running. Send it again in a second.")
    return await _made_anew(request, claim, kept)


async def _made_anew(request: Request, claim: Claim, kept: Kept) -> Response:
    """Answer for a copy that took effect and died, or was not to be stored."""
    kind, _, name = (kept.resource or "").partition(":")
    controller = controller_of(request)
    if kind != "rollout":
        raise TookEffect(
            f"This request took effect at {kept.effect_at:%Y-%m-%d %H:%M:%S} UTC, on {kind or 'what'} "
            f"{name or 'it names'}, and its answer was not kept. {_MEND.get(kind, _MEND[''])}"
        )
    view = await reads_of(controller, token_of(request)).rollout(name)
    headers = {
        "content-type": "application/json",
        "etag": etag(view.row_version),
        "location": f"/v1/rollouts/{view.id}",
    }
    answer = Answer(status=202, headers=headers, body=_ROLLOUT.dump_json(view))
    in_its_place = replace(claim, owner=kept.owner)
    return _replayed(await controller.store.keep_answer(in_its_place, answer))


_MEND = {
    "token": "Its secret was shown once and is stored nowhere: revoke that token, then make another with a "
    "new key.",
    "service": "Read the service and its regions for what is true now.",
    "": "Read the resource for what is true now.",
}


async def _fingerprint(request: Request) -> str:
    parts = (request.method, request.url.path, request.url.query)
    head = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(head + b"\0" + await request.body()).hexdigest()


def _failed(response: Response) -> bool:
    return response.status_code >= 400


def _answer(response: Response) -> Answer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return Answer(status=response.status_code, headers=headers, body=bytes(response.body))


def _replayed(answer: Answer) -> Response:
    return Response(answer.body, answer.status, {**answer.headers, REPLAYED: "true"})
