import re
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest
from page_app import ID, Stage, text_of
from page_views import BAKE, EVENTS, NOW, SERVICE, check, event, fleet, region, rollout, running

from api.dashboard import marks
from rollout.core.model import (
    Approval,
    ApprovalDecision,
    Hold,
    Obligation,
    ObligationKind,
    Phase,
    Reason,
    RegionPhase,
)
from rollout.core.signals import VerdictKind
from rollout.showing.views import Exposure, Next, PolicyName, StageView, SuspectView

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


class Seen(HTMLParser):
    """Which elements and attributes a page really has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("phase", list(Phase))
async def test_every_phase_answers_the_five_questions_in_order(
    stage: Stage, admin: httpx.AsyncClient, phase: Phase
) -> None:
    view = rollout(phase)
    stage.queries.show(view)
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    mark = marks.PHASES[phase]
    order = [
        mark.shape + " " + mark.word,
        view.sentence,
        "Why " + view.reason.text,
        "Reached ",
        "Next ",
        "Regions",
    ]
    places = [page.find(words, 40) for words in order]
    assert -1 not in places, list(zip(order, places, strict=True))
    assert places == sorted(places)


async def test_the_page_offers_only_what_is_possible(stage: Stage, admin: httpx.AsyncClient) -> None:
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert re.findall(r'id="act-(\w+)"', page) == ["promote", "hold", "rollback", "note"]
    assert ">End the bake of R3 now</a>" in page
    assert ">Roll back R3 to 1.1.0</a>" in page


async def test_a_viewer_sees_everything_and_no_button(stage: Stage) -> None:
    async with await stage.logged_in("viewer", "vic") as client:
        page = (await client.get(f"/rollouts/{ID}")).text
    assert "act-" not in page
    assert "To promote, hold, rollback, ask somebody who is deployer or approver or admin." in text_of(page)


async def test_answers_are_sealed(stage: Stage, admin: httpx.AsyncClient) -> None:
    async with stage.browser() as stranger:
        answers = [await admin.get(path) for path in ("/", f"/rollouts/{ID}", "/rollouts/none")]
        answers.append(await stranger.get("/login"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        )
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", f"/rollouts/{ID}", f"/rollouts/{ID}/hold"])
async def test_nothing_is_inline_and_nothing_comes_from_outside(admin: httpx.AsyncClient, path: str) -> None:
    for tag, attrs in Seen((await admin.get(path)).text).tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        assert tag != "style"
        if tag in ("script", "link", "img"):
            assert (attrs.get("src") or attrs.get("href") or "").startswith("/static/")


async def test_a_fragment_is_the_same_main_without_the_frame(admin: httpx.AsyncClient) -> None:
    whole = (await admin.get(f"/rollouts/{ID}")).text
    answer = await admin.get(f"/rollouts/{ID}", headers={"X-Fragment": "1"})
    assert answer.text.startswith("<main ")
    assert answer.text.strip() in whole
    assert answer.headers["vary"] == "x-fragment"


async def test_pages_refresh_without_scripts_and_forms_do_not(admin: httpx.AsyncClient) -> None:
    refresh = '<noscript><meta http-equiv="refresh" content="10"></noscript>'
    assert refresh in (await admin.get("/")).text
    assert refresh in (await admin.get(f"/rollouts/{ID}")).text
    assert "http-equiv" not in (await admin.get(f"/rollouts/{ID}/hold")).text


async def test_the_title_carries_the_state(stage: Stage, admin: httpx.AsyncClient) -> None:
    stage.queries.show(rollout(Phase.ROLLBACK_FAILED))
    assert "<title>▲ rollback failed: mail-sender 1.2.0</title>" in (await admin.get(f"/rollouts/{ID}")).text


async def test_an_unknown_rollout_is_a_page_with_404(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/rollouts/ro_NONE")
    assert answer.status_code == 404
    assert "There is no rollout 'ro_NONE'." in text_of(answer.text)


async def test_a_narrowed_token_does_not_see_other_services(stage: Stage) -> None:
    async with await stage.logged_in(services=["billing"]) as client:
        assert (await client.get(f"/rollouts/{ID}")).status_code == 404
        assert (await client.get(f"/rollouts/{ID}/raw")).status_code == 404


async def test_raw_json_is_the_view(admin: httpx.AsyncClient) -> None:
    body = (await admin.get(f"/rollouts/{ID}/raw")).json()
    assert (body["id"], body["phase"], body["stages"][0]["regions"][0]["bake"]["planned_s"]) == (
        ID,
        "progressing",
        900,
    )


async def test_details_are_all_there(admin: httpx.AsyncClient) -> None:
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    for words in (
        "bake 8 min 48 s of 15 min",
        "The smallest rise that this bake can rule out ×2.1 ×1.6",
        "1 × 1.1.0, 3 × 1.2.0 read back",
        "0.41 % against 0.39 % ×1.1",
        "of harm 13 to 1: some; acts alone at 3,600 to 1",
        "about 4,100 more candidate requests",
        "R3 deployed R3 was read back on 1.2.0 at 75 %.",
        "standard, revision 3",
        "dora",
    ):
        assert words in page


async def test_the_newest_event_comes_first(admin: httpx.AsyncClient) -> None:
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert re.findall(r'id="event-(\d+)"', page) == ["4", "3", "2", "1"]


async def test_a_long_timeline_shows_the_newest_events_and_leads_to_the_older(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.history = tuple(event(number, "hold", f"Look {number}.") for number in range(1, 1004))
    page = (await admin.get(f"/rollouts/{ID}")).text
    shown = [int(number) for number in re.findall(r'id="event-(\d+)"', page)]
    assert shown == list(range(1003, 503, -1))
    assert "503 older events are not shown here. Show older events" in text_of(page)
    assert 'id="newest"' not in page
    older = (await admin.get(_link(page, "older"))).text
    assert [int(n) for n in re.findall(r'id="event-(\d+)"', older)] == list(range(503, 3, -1))
    assert "3 older events are not shown here." in text_of(older)
    oldest = (await admin.get(_link(older, "older"))).text
    assert re.findall(r'id="event-(\d+)"', oldest) == ["3", "2", "1"]
    assert 'id="older"' not in oldest
    assert (await admin.get(_link(oldest, "newest"))).text == page


async def test_a_short_timeline_offers_no_older_events(admin: httpx.AsyncClient) -> None:
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert 'id="older"' not in page
    assert 'id="newest"' not in page


def _link(page: str, name: str) -> str:
    return next(
        attrs["href"] or "" for tag, attrs in Seen(page).tags if tag == "a" and attrs.get("id") == name
    )


async def test_obligations_say_until_when_and_what_is_left(stage: Stage, admin: httpx.AsyncClient) -> None:
    stage.queries.show(rollout(Phase.ROLLED_BACK))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "Recovery of R3: 37 stalled found, 30 resumed, 7 left; backlog 112 until in 20 min" in page


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x"])
async def test_a_change_that_is_no_web_link_is_text(stage: Stage, admin: httpx.AsyncClient, url: str) -> None:
    stage.queries.show(rollout(change_url=url))
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert url in page
    assert url not in [attrs.get("href") for tag, attrs in Seen(page).tags if tag == "a"]


# ------------------------------------------------------------------ the fleet


async def test_who_needs_a_person_comes_first(stage: Stage, admin: httpx.AsyncClient) -> None:
    views = [
        rollout(phase, id=f"ro_{phase.upper()}")
        for phase in (Phase.SUCCEEDED, Phase.PROGRESSING, Phase.AWAITING_APPROVAL)
    ]
    stage.queries.front = fleet(*views)
    page = (await admin.get("/")).text
    assert re.findall(r'id="row-ro_(\w+)"', page) == ["AWAITING_APPROVAL", "PROGRESSING", "SUCCEEDED"]
    assert "Needs you (1)" in page
    assert "<title>(1) needs you</title>" in page
    assert "1.1.0 → to 1.2.0" in text_of(page)


async def test_the_matrix_says_what_runs_what_is_known_good_and_who_holds_it(
    admin: httpx.AsyncClient,
) -> None:
    page = (await admin.get("/")).text
    words = text_of(page)
    assert re.search(rf"1 × 1.1.0, 3 × 1.2.0 read \S+ \S+ UTC known good: 1.1.0 held by {ID}", words)
    assert "known good: none, adopt what runs ▲ R2 cannot be reached." in words
    assert page.count('<th scope="col">') == 4
    assert page.count('<th scope="row">') == 1


async def test_a_newcomer_is_told_the_next_command(stage: Stage, admin: httpx.AsyncClient) -> None:
    stage.queries.front = fleet()
    assert "rollout start mail-sender VERSION" in text_of((await admin.get("/")).text)
    stage.queries.front = fleet(services=())
    assert "rollout apply -f service.yaml" in text_of((await admin.get("/")).text)


async def test_a_stopped_service_links_to_what_stopped_it(stage: Stage, admin: httpx.AsyncClient) -> None:
    stage.queries.front = fleet(services=(replace(SERVICE, stopped_by="ro_BAD"),))
    assert 'href="/rollouts/ro_BAD">promotion stopped</a>' in (await admin.get("/")).text


# ------------------------------------------------------------------ hostile text


def _hostile() -> object:
    """A rollout in which every text is hostile."""
    bad = check(
        EVIL,
        VerdictKind.FAIL,
        region=EVIL,
        title=EVIL,
        needs=EVIL,
        guard=EVIL,
        baseline_kind=EVIL,
        value_text=EVIL,
        baseline_text=EVIL,
        limit_text=EVIL,
        interval_text=EVIL,
        baseline_words=EVIL,
        rests_words=EVIL,
    )
    place = region("R3", RegionPhase.BAKING, bake=replace(BAKE, until=EVIL, detectable={EVIL: EVIL}))
    place = replace(
        place, region=EVIL, title=EVIL, running={EVIL: 1}, back_to=EVIL, steps=(EVIL, EVIL), step=0
    )
    place = replace(place, message=EVIL, checks=(bad,))
    reason = Reason(code=EVIL, text=EVIL * 3, region=EVIL, signal=EVIL)
    answered = ApprovalDecision(by=EVIL, decision=EVIL, reason=EVIL, at=NOW)
    approval = Approval(
        stage=0,
        step=0,
        minimum=2,
        groups=(EVIL,),
        self_approval=False,
        asked_at=NOW,
        deadline=NOW,
        decisions=(answered,),
    )
    owed = Obligation(
        id=EVIL,
        rollout_id=ID,
        service=EVIL,
        region=EVIL,
        kind=ObligationKind.RECOVERY,
        since=NOW,
        until=NOW,
        reason=reason,
        progress={"stalled": EVIL, "found": EVIL, "resumed": EVIL, "backlog": EVIL},
    )
    return rollout(
        Phase.AWAITING_APPROVAL,
        service=EVIL,
        version=EVIL,
        artifact=EVIL,
        lock_digest=EVIL,
        change_url="https://git.example/" + EVIL.replace(" ", ""),
        author=EVIL,
        note=EVIL,
        created_by=EVIL,
        sentence=EVIL,
        reason=reason,
        next=Next(what=EVIL, at=NOW),
        blocked_by=(EVIL, EVIL),
        rollback_effect=EVIL,
        exposure=Exposure(regions=(EVIL, EVIL), traffic_share=0.1, duration_s=1, requests=1),
        stages=(StageView(name=EVIL, regions=(place,)),),
        policy=PolicyName(name=EVIL, revision=1),
        hold=Hold(owner=EVIL, reason=EVIL, since=NOW),
        approval=approval,
        obligations=(owed,),
        against=EVIL,
        suspects=(SuspectView(rollout=EVIL, service=EVIL, version=EVIL, score=1.0, text=EVIL),) * 2,
    )


@pytest.mark.parametrize(
    "path", ["/", f"/rollouts/{ID}", f"/rollouts/{ID}/approve", f"/rollouts/{ID}/rollback"]
)
async def test_hostile_text_in_every_field_stays_text(
    stage: Stage, admin: httpx.AsyncClient, path: str
) -> None:
    view = _hostile()
    stage.queries.show(view)
    stage.queries.history = (*EVENTS, event(5, EVIL, EVIL, actor=EVIL, region=EVIL))
    evil = running(
        "R3", region=EVIL, title=EVIL, running={EVIL: 2}, known_good=(EVIL,), error=EVIL, problems=(EVIL,)
    )
    service = replace(SERVICE, name=EVIL, stopped_by=EVIL)
    front = fleet(view, services=(service,))
    stage.queries.front = replace(front, running={EVIL: (replace(evil, rollout=EVIL),)})
    page = (await admin.get(path)).text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "{{7*7}}" in page, "text is never rendered as a template"
    assert page.count("&lt;script&gt;") >= 4
    scripts = [attrs for tag, attrs in Seen(page).tags if tag == "script"]
    assert scripts == [{"type": "module", "src": "/static/live.js"}]
    assert not [attrs for _, attrs in Seen(page).tags if any(name.startswith("on") for name in attrs)]


async def test_a_hostile_reason_comes_back_as_text(stage: Stage, admin: httpx.AsyncClient) -> None:
    page = (await admin.get(f"/rollouts/{ID}/hold")).text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf
    sent = {"csrf": csrf[1], "row_version": "1", "reason": EVIL}
    stage.queries.show(rollout(Phase.HELD))
    answer = await admin.post(f"/rollouts/{ID}/resume", data=sent)
    assert answer.status_code == 412
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text


async def test_a_region_in_which_nothing_ran_shows_that_it_was_read_back(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    empty = region("R3", RegionPhase.RESTORING, running={}, running_version=None)
    stage.queries.show(rollout(Phase.ROLLING_BACK, stages=(StageView(name="R3", regions=(empty,)),)))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "0 instances read back 20" in page
    assert "nothing read back yet" not in page


@pytest.mark.parametrize("limit", [None, 0.0])
async def test_a_limit_is_shown_only_when_there_is_one(
    stage: Stage, admin: httpx.AsyncClient, limit: float | None
) -> None:
    shown = check("errors", VerdictKind.PASS, limit=limit, limit_text="0 per instance-hour")
    baking = region("R3", RegionPhase.BAKING, checks=(shown,))
    stage.queries.show(rollout(Phase.PROGRESSING, stages=(StageView(name="R3", regions=(baking,)),)))
    assert "Limit" not in text_of((await admin.get(f"/rollouts/{ID}")).text)


async def test_a_check_shows_its_interval_its_baseline_and_what_it_rests_on(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.show(rollout(Phase.PROGRESSING))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "0.41 % against 0.39 % ×1.1 between ×0.80 and ×1.3" in page
    assert "Rests on few false rollbacks, by proof" in page
    assert "against what is on instances beside it in R3" in page


async def test_what_speaks_against_and_the_suspects_are_shown_where_there_are_some(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.show(rollout(Phase.HELD))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "What speaks against" not in page
    assert "Suspects" not in page
    suspects = tuple(
        SuspectView(rollout=f"ro_{n}", service="billing", version="2", score=1 / n, text=f"billing {n}")
        for n in (1, 2)
    )
    told = {"against": "R1 failed requests 0.20 %: harm is ruled out.", "suspects": suspects}
    stage.queries.show(rollout(Phase.HELD, **told))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "What speaks against R1 failed requests 0.20 %: harm is ruled out." in page
    assert "Suspects, most likely first billing 1 billing 2" in page
