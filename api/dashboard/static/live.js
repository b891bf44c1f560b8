// Keeps the page as fresh as the server. A stream says when something changed; then the same page's <main> is
// asked for and only what differs is changed, so that focus, scroll, open parts and half-typed text stay.
// Without a stream it asks from time to time; without this file the page works, slower.
import { span, times, write } from "./clock.js";
import { morph } from "./morph.js";

const OLD = 10000; // ms without a sign of life before the page calls itself STALE
const SLOW = 15000; // ms after which what no event tells of (ages, readings) is looked at too
const MOST = 6000; // ms between two attempts, at most: what is asked for so often is not STALE
const main = () => document.getElementById("main");
const [live, stale, icon] = ["live", "stale", "icon"].map((id) => document.getElementById(id));
let good = performance.now(); // when the page was last known to be as the server has it
let heard = good; // the last word of the stream
let looked = good;
let ahead = Date.parse(main().dataset.now) - Date.now(); // of the server's clock
let trouble = "";
let over = false; // the session, so that nothing can help but a new one
let source = null;
let tries = 0; // since the stream last spoke
let looking = false;
let again = false;
let timer = 0;

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("main");
  if (!fresh) throw new Error("the answer is no page of this server");
  ahead = Date.parse(fresh.dataset.now) - Date.now();
  times(fresh, ahead);
  const focused = document.activeElement && document.activeElement.id;
  morph(main(), document.adoptNode(fresh));
  const still = focused && document.getElementById(focused);
  if (still && document.activeElement !== still) still.focus({ preventScroll: true });
  document.title = main().dataset.title;
  const shown = `/static/icon${main().dataset.icon && "-"}${main().dataset.icon}.svg`;
  if (icon.getAttribute("href") !== shown) icon.setAttribute("href", shown);
}

async function look() {
  if (over) return;
  if (looking) { again = true; return; } // what changed meanwhile is looked at next
  looking = true;
  again = false;
  try {
    const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(8000) });
    over = answer.type === "opaqueredirect";
    if (over) throw new Error("the session is over: reload to log in again");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.text());
    good = looked = performance.now();
    trouble = "";
  } catch (error) {
    trouble = error instanceof TypeError || error.name === "TimeoutError" ? "the server does not answer" : error.message;
  }
  looking = false;
  if (trouble) retry();
  else if (!source) connect();
  else if (again) look();
  tick();
}

// The stream is gone, or the page could not be read: ask again soon, then less and less often.
function retry() {
  if (source) source.close();
  source = null;
  clearTimeout(timer);
  tries += 1;
  if (!over) timer = setTimeout(look, Math.min(MOST, 500 * 2 ** tries) * (0.8 + 0.4 * Math.random()));
}

function connect() {
  heard = performance.now();
  source = new EventSource(main().dataset.live);
  const hear = (act) => () => { heard = performance.now(); tries = 0; act(); };
  source.addEventListener("changed", hear(look));
  source.addEventListener("beat", hear(() => { if (!trouble && !looking) good = heard; }));
  source.addEventListener("over", hear(look));
  source.onerror = retry;
}

function tick() {
  const now = performance.now();
  if (source && now - heard > OLD) { trouble = "the server does not answer"; retry(); } // it hangs: the line is open and silent
  if (source && now - looked > SLOW && !document.hidden) look();
  const old = now - good;
  const isStale = over || (!document.hidden && (old > OLD || (trouble !== "" && tries > 1)));
  write(live, isStale ? "▲ STALE" : `● live, ${Math.floor(old / 1000)} s ago`);
  const age = old > OLD ? ` What you see is older than ${span(Math.floor(old / OLD) * OLD / 1000)}.` : "";
  if (isStale) write(stale, `▲ STALE: ${trouble || "no answer"}.${age}`);
  if (stale.hidden === isStale) stale.hidden = !isStale;
  document.body.classList.toggle("old", isStale);
  times(document, ahead);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) { tries = 0; look(); } });
window.addEventListener("pagehide", () => { if (source) source.close(); source = null; });
window.addEventListener("pageshow", (event) => { if (event.persisted) { look(); connect(); } });
connect();
tick();
setInterval(tick, 1000);
