// Words of time as the reader's own clock shows them. `ahead` is how far the server's clock is, in ms.
export const span = (s) => {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const whole = Math.max(0, Math.round(s));
  const at = units.findIndex(([size]) => whole >= size);
  if (at < 0) return "0 s";
  const [[size, name], next] = [units[at], units[at + 1]];
  const rest = next ? Math.floor((whole % size) / next[0]) : 0;
  return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${next[1]}` : "");
};

export const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// Times as the reader's own clock shows them, beside UTC; countdowns as they stand now.
export function times(root, ahead) {
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
