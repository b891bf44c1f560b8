from dataclasses import replace

import httpx
import pytest
from page_app import ID, Stage, hidden, text_of
from page_views import NOW, asked, rollout

from rollout.bootstrap import Linked
from rollout.core.errors import NotAllowed, StaleWrite
from rollout.core.model import ApprovalDecision, Phase
from rollout.ports import Notice
from rollout.testing import RecordingNotifier

PATH = f"/a/{asked().id}"


@pytest.fixture
def waiting(stage: Stage) -> Stage:
    """A rollout that waits for anybody's approval."""
    stage.queries.show(rollout(Phase.AWAITING_APPROVAL))
    stage.queries.asked = asked(groups=())
    return stage


async def _form(client: httpx.AsyncClient, **more: str) -> dict[str, str]:
    page = (await client.get(PATH)).text
    fields = {name: hidden(page, name) for name in ("csrf", "row_version")}
    return {**fields, "decision": "approve", "chip": "looks healthy", "reason": "", **more}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_opening_the_link_shows_and_changes_nothing(
    waiting: Stage, admin: httpx.AsyncClient, method: str
) -> None:
    query = {"decision": "approve", "chip": "looks healthy", "row_version": 7}
    answer = await admin.request(method, PATH, params=query)
    assert answer.status_code == 200
    assert waiting.commands.asked == []


async def test_a_scanner_without_a_session_is_led_to_the_login_and_changes_nothing(waiting: Stage) -> None:
    async with waiting.browser() as client:
        answers = [await client.request(method, PATH) for method in ("GET", "HEAD")]
    assert [a.headers["location"] for a in answers] == [f"/login?next={PATH.replace('/', '%2F')}"] * 2
    assert waiting.commands.asked == []


async def test_the_screen_says_what_is_asked_until_when_and_what_happens_then(
    waiting: Stage, admin: httpx.AsyncClient
) -> None:
    page = text_of((await admin.get(PATH)).text)
    for words in (
        "◆ waits for you Approve mail-sender 1.2.0 for R1?",
        "1 approval from release-managers lets R1 go on.",
        "Without an answer it is held in 47 min",
        "R1 75 % → bake 15 min → passed",
        "✔ pass R3 errors",
        "looks healthy",
        "Approve R1",
        "Hold for 1 h",
        "Reject, roll back R3 to 1.1.0",
    ):
        assert words in page


async def test_approving_needs_nothing_but_the_button(waiting: Stage, admin: httpx.AsyncClient) -> None:
    answer = await admin.post(PATH, data=await _form(admin))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/rollouts/{ID}")
    assert waiting.commands.asked == [("approve", ID, "ann", "looks healthy", {"seen": 7})]


async def test_what_is_typed_follows_the_reason_that_was_chosen(
    waiting: Stage, admin: httpx.AsyncClient
) -> None:
    more = {"decision": "reject", "chip": "a check looks wrong", "reason": " the  backlog\r\nis not ours "}
    await admin.post(PATH, data=await _form(admin, **more))
    await admin.post(PATH, data=await _form(admin, decision="hold", chip="not a known one", reason="lunch"))
    assert [each[:4] for each in waiting.commands.asked] == [
        ("reject", ID, "ann", "a check looks wrong: the backlog is not ours"),
        ("hold", ID, "ann", "lunch"),
    ]
    assert waiting.commands.asked[1][4] == {"for_s": 3600, "seen": 7}


async def test_an_answer_without_any_reason_is_refused(waiting: Stage, admin: httpx.AsyncClient) -> None:
    answer = await admin.post(PATH, data=await _form(admin, chip=""))
    assert answer.status_code == 422
    assert "Say why" in text_of(answer.text)
    assert waiting.commands.asked == []


async def test_an_answer_to_what_has_changed_since_is_refused_and_keeps_what_was_typed(
    waiting: Stage, admin: httpx.AsyncClient
) -> None:
    form = await _form(admin, chip="agreed with the owner", reason="dora said so")
    waiting.queries.asked = asked(groups=(), row_version=8)
    answer = await admin.post(PATH, data=form)
    assert answer.status_code == 412
    assert "It changed since you looked, so nothing was done." in text_of(answer.text)
    assert ">dora said so</textarea>" in answer.text
    assert 'value="agreed with the owner" checked' in answer.text
    waiting.queries.asked = asked(groups=())
    waiting.commands.refuse = StaleWrite("You looked at another version.")
    assert (await admin.post(PATH, data=form)).status_code == 412, "the database has the last word"
    assert waiting.commands.asked == []


@pytest.mark.parametrize("csrf", ["", "wrong"])
async def test_an_answer_without_the_forms_secret_is_403(
    waiting: Stage, admin: httpx.AsyncClient, csrf: str
) -> None:
    assert (await admin.post(PATH, data=await _form(admin, csrf=csrf))).status_code == 403
    assert waiting.commands.asked == []


@pytest.mark.parametrize("state", ["approved", "rejected", "expired", "withdrawn"])
async def test_what_is_decided_says_by_whom_and_when_and_offers_nothing(
    waiting: Stage, admin: httpx.AsyncClient, state: str
) -> None:
    form = await _form(admin)
    given = ApprovalDecision(by="bea", decision="approve", reason="looks fine", at=NOW)
    text = f"It was {state} by bea."
    waiting.queries.asked = asked(state=state, decisions=(given,), ended_at=NOW, text=text)
    page = (await admin.get(PATH)).text
    words = text_of(page)
    assert f"mail-sender 1.2.0 for R1: {state}" in words
    assert text in words
    assert "bea : approve, looks fine" in words
    assert f"Ended {state} 2026-11-21 03:10:00 UTC" in words
    assert 'id="decide"' not in page
    late = await admin.post(PATH, data=form)
    assert (late.status_code, f"Nothing was done: it is {state} by now." in text_of(late.text)) == (409, True)
    assert waiting.commands.asked == []


async def test_who_may_not_answer_is_told_why_before_and_refused_after(waiting: Stage) -> None:
    waiting.queries.asked = asked(groups=("release-managers",))
    async with await waiting.logged_in(groups=["sre"]) as client:
        page = (await client.get(PATH)).text
    assert "Approval is asked from release-managers; ann is in sre." in text_of(page)
    assert 'id="decide"' not in page
    assert "◆ needs approval Approve" in text_of(page), "it waits for somebody else"
    waiting.queries.asked = asked(groups=())
    async with await waiting.logged_in(name="dora") as client:
        assert "You authored this release" in text_of((await client.get(PATH)).text)
    async with await waiting.logged_in("viewer", "vic") as client:
        assert "ask somebody who is approver or admin" in text_of((await client.get(PATH)).text)


async def test_what_the_command_refuses_is_said_on_the_screen(
    waiting: Stage, admin: httpx.AsyncClient
) -> None:
    waiting.commands.refuse = NotAllowed("ann authored this release.")
    answer = await admin.post(PATH, data=await _form(admin))
    assert answer.status_code == 403
    assert "ann authored this release." in text_of(answer.text)


async def test_an_unknown_approval_is_a_page_with_404(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/a/ap_NONE")).status_code == 404


async def test_the_link_of_a_notice_leads_to_what_is_asked_else_to_the_rollout(
    waiting: Stage, admin: httpx.AsyncClient
) -> None:
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert f'id="act-approve" href="{PATH}"' in page
    for method in ("GET", "HEAD"):
        assert (await admin.request(method, f"/r/{ID}")).headers["location"] == PATH
    waiting.queries.show(rollout(Phase.PROGRESSING))
    assert (await admin.get(f"/r/{ID}")).headers["location"] == f"/rollouts/{ID}"


async def test_a_link_from_another_site_goes_on_by_itself_with_the_strict_cookie(waiting: Stage) -> None:
    """The cookie comes along only from our own page, which is a step in between, without a tap."""
    async with waiting.browser() as client:
        came = await client.get(f"/login?next={PATH}", headers={"sec-fetch-site": "cross-site"})
        here = await client.get(f"/login?next={PATH}", headers={"sec-fetch-site": "same-origin"})
    assert f'<meta http-equiv="refresh" content="0; url={PATH}">' in came.text
    assert 'name="token"' in here.text


async def test_every_notice_carries_the_link_that_its_reader_needs() -> None:
    sent = RecordingNotifier()
    notice = Notice(key="k1", rollout_id=ID, service="mail-sender", text="R1 waits.", urgent=True)
    await Linked(sent, "https://rollout.example/").send(notice)
    await Linked(sent, "https://rollout.example/").send(replace(notice, key="k2", rollout_id=""))
    links = [each.link for each in sent.notices]
    assert links == [f"https://rollout.example/r/{ID}", "https://rollout.example/"]
