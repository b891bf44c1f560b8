// Make `old` equal to `fresh` in place. Inputs keep what was typed; hidden ones follow the server.
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) return void (old.nodeValue !== fresh.nodeValue && (old.nodeValue = fresh.nodeValue));
  if (old.matches("textarea, select, input:not([type=hidden])")) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
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
