"""The pages in a real browser, against a real server on a loopback port."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import Served, serve
from page_views import HARM, ID, asked, fleet, rollout
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.dashboard import pages
from rollout.core.model import Phase, Reason

pytestmark = pytest.mark.real

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXPECTED = (  # what a browser says by itself when a server is gone, full, or answers with an error
    "ERR_CONNECTION_REFUSED",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "status of 503",
    "status of 404",
    "EventSource's response has a MIME type",  # the login form, once the session is over
)
PHONE = {"width": 390, "height": 600}
TOUCHED = [
    Phase.PROGRESSING,
    Phase.AWAITING_APPROVAL,
    Phase.HELD,
    Phase.ROLLING_BACK,
    Phase.ROLLED_BACK,
    Phase.ROLLBACK_FAILED,
    Phase.SUCCEEDED,
]
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; where everything is required, its absence is a failure."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing, so the pages were not seen in a browser"
        if os.environ.get("ROLLOUT_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """The pages of a pretend controller."""
    running = serve()
    yield running
    running.stop()


@pytest.fixture
def log_in(browser: Browser, served: Served) -> Iterator[Open]:
    """Open a window and log in by the form; a message of the browser's console fails the test."""
    contexts, said = [], []

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": PHONE, "timezone_id": "Asia/Tokyo", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{served.url}/login?next=/rollouts/{ID}")
        page.fill("#token", served.secret)
        page.click("main button[type=submit]")
        page.wait_for_url(f"**/rollouts/{ID}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in said if not any(each in text for each in EXPECTED)] == []


def _box(page: Page, selector: str) -> tuple[float, float]:
    """Top and bottom of an element in the window, in px."""
    box = page.locator(selector).bounding_box()
    assert box, selector
    return box["y"], box["y"] + box["height"]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_small_phone_shows_all_five_answers_without_scrolling(
    served: Served, log_in: Open, script: bool
) -> None:
    page = log_in(java_script_enabled=script)
    for phase in TOUCHED:
        served.stage.queries.show(rollout(phase, reason=Reason(code="check.harm", text=HARM)))
        page.goto(f"{served.url}/rollouts/{ID}")
        bar_top, bar_bottom = _box(page, "#bar")
        assert bar_bottom <= 600.5, phase
        places = [_box(page, selector) for selector in ("#state", "#why", "#reached", "#next")]
        assert places == sorted(places), f"{phase}: in this order"
        assert places[0][0] >= 0, phase
        assert places[-1][1] <= bar_top, (
            f"{phase}: the answers end at {places[-1][1]}, the bar begins at {bar_top}"
        )
        for button in page.locator("#bar .act").all():
            size = button.bounding_box()
            assert size, phase
            assert min(size["width"], size["height"]) >= 48, f"{phase}: {size}"


@pytest.mark.parametrize("path", ["/", f"/rollouts/{ID}", f"/rollouts/{ID}/hold", "/login"])
def test_nothing_sticks_out_of_a_narrow_window(served: Served, log_in: Open, path: str) -> None:
    page = log_in(viewport={"width": 320, "height": 640})
    page.goto(served.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


CONTRAST = """() => {
  const rgb = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
    if (!own || !e.getClientRects().length || e.closest(".skip, .hidden")) continue;
    const [a, b] = [lum(rgb(getComputedStyle(e).color)), lum(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    found.push([ratio, e.className + ": " + e.textContent.trim().slice(0, 30)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_at_least_4_5(served: Served, log_in: Open, scheme: str) -> None:
    page = log_in(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    everything = fleet(*(rollout(phase, id=f"ro_{phase}") for phase in Phase))
    served.stage.queries.front = everything
    seen = 0
    for phase in (*TOUCHED, None):
        served.stage.queries.show(rollout(phase or Phase.HELD))
        for path in (f"/rollouts/{ID}", f"/rollouts/{ID}/hold") if phase else ("/", "/login"):
            page.goto(served.url + path)
            found = page.evaluate(CONTRAST)
            seen += len(found)
            assert [each for each in found if each[0] < 4.5] == [], path
    assert seen > 500, "the texts were not found, so this test would prove nothing"


def test_every_target_is_at_least_44_px(served: Served, log_in: Open) -> None:
    page = log_in()
    served.stage.queries.front = fleet(*(rollout(phase, id=f"ro_{phase}") for phase in Phase))
    for path in ("/", f"/rollouts/{ID}", f"/rollouts/{ID}/hold"):
        page.goto(served.url + path)
        for target in page.locator("a:not(.skip), button, input:not([type=hidden]), select, textarea").all():
            box = target.bounding_box()
            inline = target.evaluate("e => getComputedStyle(e).display") == "inline"
            assert box is None or inline or box["height"] >= 43.9, f"{path}: {target.text_content()} {box}"


def test_the_page_follows_and_keeps_what_is_half_typed(served: Served, log_in: Open) -> None:
    page = log_in()
    served.stage.queries.show(rollout(Phase.AWAITING_APPROVAL))
    page.goto(f"{served.url}/rollouts/{ID}/approve")
    page.locator("#reason").press_sequentially("looks go")
    page.evaluate("window.scrollTo(0, 40)")
    before = page.evaluate("scrollY")
    moved = "mail-sender 1.2.0 waits for approval before R2 goes on."
    served.stage.queries.show(rollout(Phase.AWAITING_APPROVAL, row_version=8, sentence=moved))
    expect(page.locator(".state .sentence")).to_have_text(moved, timeout=6000)
    assert page.evaluate("scrollY") == before
    page.keyboard.type("od")
    expect(page.locator("#reason")).to_have_value("looks good")
    expect(page.locator("#reason")).to_be_focused()
    assert page.locator("input[name=row_version]").get_attribute("value") == "8", (
        "what is decided is what is seen"
    )


def test_the_rollout_page_follows_the_state_in_place(served: Served, log_in: Open) -> None:
    page = log_in()
    expect(page.locator("#live")).to_have_text("● live, 1 s ago", timeout=6000)
    page.locator("#act-rollback").focus()
    page.evaluate("window.kept = document.getElementById('state')")
    served.stage.queries.show(rollout(Phase.AWAITING_APPROVAL))
    expect(page).to_have_title("◆ needs approval: mail-sender 1.2.0", timeout=6000)
    expect(page.locator("#act-rollback")).to_be_focused()
    assert page.evaluate("window.kept.isConnected"), "the live region is changed, not replaced"
    order = page.locator("#bar .act").evaluate_all("all => all.map(e => e.id)")
    assert order == ["act-approve", "act-hold", "act-reject", "act-rollback"]
    served.stage.queries.show(rollout(Phase.SUPERSEDED))
    expect(page.locator("#bar")).to_contain_text("Nothing can be asked of it now.", timeout=6000)
    expect(page.locator("#bar .act")).to_have_count(0)


def test_times_are_local_and_utc_and_countdowns_tick(log_in: Open) -> None:
    page = log_in()
    next_line = page.locator("#next")
    expect(next_line).to_contain_text("at 12:16:12 (03:16:12 UTC)")
    first = page.locator("#next [data-countdown]").text_content()
    expect(page.locator("#next [data-countdown]")).not_to_have_text(first or "", timeout=4000)


def test_stale_is_said_when_the_server_stops_and_the_page_goes_on_when_it_is_back(
    served: Served, log_in: Open
) -> None:
    page = log_in()
    expect(page.locator("#live")).to_contain_text("live", timeout=6000)
    expect(page.locator("#stale")).to_be_hidden()
    page.evaluate("window.kept = true")
    served.stop()
    expect(page.locator("#stale")).to_be_visible(timeout=9000)
    expect(page.locator("#stale")).to_contain_text("▲ STALE: the server does not answer")
    expect(page.locator("#live")).to_have_text("▲ STALE")
    expect(page.locator("#state")).to_be_visible()
    served.stage.queries.show(rollout(Phase.HELD))
    back = serve(served)
    try:
        expect(page.locator("#stale")).to_be_hidden(timeout=20_000)
        expect(page.locator("#state")).to_contain_text("is held by ann")
        assert page.evaluate("window.kept"), "without a reload"
    finally:
        back.stop()


def test_stale_is_said_when_the_server_hangs_with_the_line_open(served: Served, log_in: Open) -> None:
    page = log_in()
    expect(page.locator("#live")).to_contain_text("live", timeout=6000)
    served.stage.served.hangs = True
    expect(page.locator("#stale")).to_contain_text("STALE: the server does not answer", timeout=20_000)
    served.stage.served.hangs = False
    expect(page.locator("#stale")).to_be_hidden(timeout=20_000)


def test_stale_is_said_when_nobody_can_know_what_is_true(served: Served, log_in: Open) -> None:
    """The server answers, and its database does not: no beat may pretend that nothing has changed."""
    page = log_in()
    served.stage.app.state.live.beat_s = 1.0
    served.stage.queries.broken = True
    served.stage.queries.views.clear()
    expect(page.locator("#stale")).to_contain_text("STALE", timeout=25_000)


def test_without_a_stream_the_page_asks_by_itself(served: Served, log_in: Open) -> None:
    served.stage.app.state.room.most = 0
    page = log_in()
    served.stage.queries.show(rollout(Phase.HELD))
    expect(page.locator("#state")).to_contain_text("is held by ann", timeout=12_000)
    expect(page.locator("#stale")).to_be_hidden()


def test_two_taps_approve_from_a_link_on_another_site(served: Served, log_in: Open, browser: Browser) -> None:
    page = log_in()
    served.stage.queries.show(rollout(Phase.AWAITING_APPROVAL))
    served.stage.queries.asked = asked(groups=())
    elsewhere = f'<a id="notice" href="{served.url}/a/{asked().id}">Approve?</a>'
    page.route(
        "http://chat.example/**", lambda route: route.fulfill(body=elsewhere, content_type="text/html")
    )
    page.goto("http://chat.example/thread")
    page.click("#notice")  # tap 1
    page.click("#approve")  # tap 2; waits for the screen
    page.wait_for_url(f"**/rollouts/{ID}")
    assert [each[:4] for each in served.stage.commands.asked] == [("approve", ID, "ann", "looks healthy")]


def test_the_icon_and_the_title_carry_the_state(served: Served, log_in: Open) -> None:
    page = log_in()
    assert page.get_attribute("#icon", "href") == "/static/icon-move.svg"
    served.stage.queries.show(rollout(Phase.ROLLED_BACK))
    expect(page).to_have_title("✖ rolled back: mail-sender 1.2.0", timeout=8000)
    assert page.get_attribute("#icon", "href") == "/static/icon-bad.svg"


def test_a_stream_ends_with_its_page(served: Served, log_in: Open) -> None:
    page = log_in()
    live = served.stage.app.state.live
    page.wait_for_function("document.getElementById('live').textContent.includes('live')")
    page.goto(f"{served.url}/rollouts/{ID}/hold")
    expect(page.locator("#live")).to_contain_text("live", timeout=8000)
    page.goto("about:blank")
    page.wait_for_timeout(300)
    assert live.open == served.stage.app.state.room.taken == 0


def test_what_a_page_weighs(served: Served, log_in: Open) -> None:
    page = log_in()
    static = Path(pages.__file__).parent / "static"
    text = page.content().encode()
    files = [static / name for name in ("app.css", "live.js", "morph.js", "clock.js")]
    assert sum(len(gzip.compress(each)) for each in (text, *(file.read_bytes() for file in files))) < 150_000
    assert len((static / "live.js").read_text().splitlines()) < 120


def test_a_session_that_is_over_is_said_when_the_page_looks_next(served: Served, log_in: Open) -> None:
    page = log_in()
    served.stage.access_store.sessions.clear()
    expect(page.locator("#stale")).to_contain_text(
        "the session is over: reload to log in again", timeout=30_000
    )


def test_everything_can_be_done_without_scripts(served: Served, log_in: Open) -> None:
    page = log_in(java_script_enabled=False)
    page.click("#act-hold")
    page.select_option("#for_s", "900")
    page.fill("#reason", "looking at the mails")
    page.click("#confirm button[type=submit]")
    page.wait_for_url(f"**/rollouts/{ID}")
    expect(page.locator("[role=status]")).to_have_text("Recorded: “Hold”. This page shows what comes of it.")
    page.click("#act-rollback")
    page.click("#confirm button[type=submit]")
    page.wait_for_url(f"**/rollouts/{ID}")
    assert [(asked[0], asked[3]) for asked in served.stage.commands.asked] == [
        ("hold", "looking at the mails"),
        ("rollback", "no reason was given on the page"),
    ]
    page.click("header button[type=submit]")
    page.wait_for_url("**/login")


def test_the_page_refreshes_itself_without_scripts(served: Served, log_in: Open) -> None:
    page = log_in(java_script_enabled=False)
    served.stage.queries.show(rollout(Phase.ROLLED_BACK))
    expect(page.locator("#state")).to_contain_text("was rolled back; users are on 1.1.0.", timeout=14_000)
