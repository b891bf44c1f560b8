// Keeps the page as fresh as the server: every 2 s it asks for the same page's <main> and changes only what
// differs, so that focus, scroll, open parts and half-typed text stay. Without it the page works, slower.
"use strict";
const EVERY = 2000; // ms between two looks
const OLD = 10000; // ms without a good answer before the page calls itself STALE
const main = () => document.getElementById("main");
const live = document.getElementById("live");
const stale = document.getElementById("stale");
let good = performance.now(); // of the last good answer
let ahead = Date.parse(main().dataset.now) - Date.now(); // of the server's clock
let trouble = "";
let over = false; // the session, so that no later look can help
let waiting = 0; // the timer of the next look; 0 while one is under way

const span = (s) => {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const whole = Math.max(0, Math.round(s));
  const at = units.findIndex(([size]) => whole >= size);
  if (at < 0) return "0 s";
  const [[size, name], next] = [units[at], units[at + 1]];
  const rest = next ? Math.floor((whole % size) / next[0]) : 0;
  return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${next[1]}` : "");
};

const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// Times as the reader's own clock shows them, beside UTC; countdowns as they stand now.
function times(root) {
  for (const node of root.querySelectorAll("time[data-local]")) {
    const at = new Date(node.dateTime);
    const utc = at.toISOString().slice(11, 19);
    const own = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    const today = new Date(Date.now() + ahead).toDateString() === at.toDateString();
    write(node, (today ? "" : `${at.toLocaleDateString("sv-SE")} `) + (at.getTimezoneOffset() ? `${own} (${utc} UTC)` : `${utc} UTC`));
  }
  for (const node of root.querySelectorAll("time[data-countdown]")) {
    const left = (Date.parse(node.dateTime) - Date.now() - ahead) / 1000;
    write(node, left >= 0 ? `in ${span(left)}` : `${span(-left)} ago`);
  }
}

// Make `old` equal to `fresh` in place. Inputs keep what was typed; hidden ones follow the server.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.matches("textarea, select, input:not([type=hidden])")) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  children(old, fresh);
}

function children(old, fresh) {
  const byId = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let here = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = next.id && byId.get(next.id);
    if (same && same !== here) old.insertBefore(same, here);
    const now = same || here;
    if (!now || (!same && (next.id || now.id))) { old.insertBefore(next, here); continue; }
    if (now === here) here = here.nextSibling;
    morph(now, next);
  }
  while (here) { const gone = here; here = here.nextSibling; gone.remove(); }
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("main");
  if (!fresh) throw new Error("the answer is no page of this server");
  good = performance.now();
  ahead = Date.parse(fresh.dataset.now) - Date.now();
  times(fresh);
  const focused = document.activeElement && document.activeElement.id;
  morph(main(), document.adoptNode(fresh));
  const still = focused && document.getElementById(focused);
  if (still && document.activeElement !== still) still.focus({ preventScroll: true });
  document.title = main().dataset.title;
}

async function look() {
  waiting = 0;
  try {
    const signal = AbortSignal.timeout(8000);
    const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "manual", cache: "no-store", signal });
    over = answer.type === "opaqueredirect";
    if (over) throw new Error("the session is over: reload to log in again");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.text());
    trouble = "";
  } catch (error) {
    trouble = error instanceof TypeError || error.name === "TimeoutError" ? "the server does not answer" : error.message;
  }
  waiting = setTimeout(look, document.hidden ? 5 * EVERY : EVERY);
  tick();
}

function tick() {
  const old = performance.now() - good;
  const isStale = over || (old > OLD && !document.hidden);
  write(live, isStale ? "▲ STALE" : `● live, ${Math.floor(old / 1000)} s ago`);
  const age = old > OLD ? ` What you see is older than ${span(Math.floor(old / OLD) * OLD / 1000)}.` : "";
  if (isStale) write(stale, `▲ STALE: ${trouble || "no answer"}.${age}`);
  if (stale.hidden === isStale) stale.hidden = !isStale;
  times(document);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !waiting) return;
  clearTimeout(waiting);
  look();
});
tick();
setInterval(tick, 1000);
waiting = setTimeout(look, EVERY);
