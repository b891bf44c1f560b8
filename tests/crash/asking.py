"""A pipeline that asks over the HTTP API of a life, with a key, until it gets an answer."""

from types import SimpleNamespace
from typing import cast

import httpx

from api.app import create_app
from rollout.access import Access
from rollout.bootstrap import Controller
from rollout.config import ConfigurationFiles
from rollout.looking import Looking
from rollout.schedule import Heartbeat
from rollout.settings import load_settings
from rollout.tail import Tail
from tests.crash.life import Life


async def give_token(life: Life) -> None:
    """A token of an admin, which the pipeline remembers."""
    _, life.outside.state.said["token"] = await Access(life.store, life.clock).create_token("ci", "admin")


async def ask_once(life: Life, key: str, path: str, body: dict[str, str]) -> bool:
    """Send the request. True, and the answer kept, once it took effect; else it is to be sent again."""
    said = life.outside.state.said
    headers = {"authorization": f"Bearer {said['token']}", "idempotency-key": key}
    transport = httpx.ASGITransport(create_app(_controller(life)))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.post(path, json=body, headers=headers)
    took_effect = answer.status_code < 300 or "took effect" in answer.text
    assert took_effect or answer.status_code == 409, answer.text
    if took_effect:
        said[key] = str(answer.json().get("id", ""))
        life.outside.save()
    return took_effect


def _controller(life: Life) -> Controller:
    files = cast(ConfigurationFiles, SimpleNamespace(current=life.configuration))
    parts = life.configuration, life.plugins.deployer, life.plugins.source
    return Controller(
        settings=load_settings(data=life.ground.directory),
        store=life.store,
        clock=life.clock,
        files=files,
        access=Access(life.store, life.clock),
        commands=life.commands,
        queries=life.queries,
        looking=Looking(life.store, life.clock, lambda: parts[0], *parts[1:]),
        reconciler=life.reconciler,
        heartbeat=Heartbeat(life.reconciler, files, life.clock, tick_s=1),
        tail=Tail(life.store.newest_sequence),
    )
