// The page: what is selected and searched, the totals, and what keys and the mouse do.

const HELP = [
  ["↑ ↓", "move"], ["→ ←", "unfold or fold; to the first child or the parent"], ["Enter", "show details"],
  ["Tab", "into the details, to read and to scroll"], ["/", "search: words, \"several words\", is:error, is:tool"],
  ["n N", "next or previous match"], ["e E", "next or previous error"], ["*", "unfold everything in the span"],
  ["z 0", "show only the time of the span; show the whole time"], ["a", "each request from its own beginning"],
  ["Home End", "first or last row"], ["t", "light or dark"], ["Esc", "close details, then end the search, then zoom out"],
];

function open(number) {
  recording = data.recordings[number];
  outline = new Outline(recording.spans);
  selected = 0;
  starts = recording.spans.map((span) => span.from ?? 0);
  for (let i = 0; i < starts.length; i += 1) {
    const up = outline.parent(i);
    if (up >= 0) starts[i] = starts[up]; // of the request that it is part of
  }
  aligned = false;
  view = null;
  search.value = "";
  at("found").textContent = "";
  totals();
  notes();
  hideDetails();
  align(mostlyIdle());
  tree.scrollTop = 0;
}

// A server that recorded for a day has requests that are too short to be seen beside each other.
function mostlyIdle() {
  let busy = 0;
  let until = -Infinity;
  for (let i = 0; i < recording.spans.length; i = outline.after[i]) {
    const from = Math.max(starts[i], until);
    if (end(i) > from) busy += end(i) - from;
    until = Math.max(until, end(i));
  }
  return outline.spans.length > 0 && busy < recording.duration * 0.05;
}

function totals() {
  const sum = recording.totals;
  const tile = (value, label, query, tone, more) => {
    const inner = [make("b", {}, value), make("span", {}, label)];
    return query
      ? make("button", { type: "button", class: tone ?? "", title: `Search ${query}`, onclick: () => setSearch(search.value === query ? "" : query) }, ...inner)
      : make("div", { title: more }, ...inner);
  };
  const plural = (number, one, many = `${one}s`) => (number === 1 ? one : many);
  const some = (number, label, query, tone) => (number ? [tile(count(number), label, query, tone)] : []);
  at("totals").replaceChildren(
    tile(duration(recording.duration), "in all"),
    tile(count(sum.requests), plural(sum.requests, "request"), "is:request"),
    tile(count(sum.model_calls), plural(sum.model_calls, "model call"), sum.model_calls ? "is:model" : null),
    tile(count(sum.input_tokens), "tokens in", null, "", `${counted.format(sum.input_tokens)}, of which ${counted.format(sum.cached_input_tokens)} were cached`),
    tile(count(sum.output_tokens), "tokens out", null, "", `${counted.format(sum.output_tokens)}, of which ${counted.format(sum.reasoning_tokens)} were reasoning`),
    ...(sum.cost || !sum.unpriced ? [tile(dollars(sum.cost), sum.unpriced ? `cost, ${sum.unpriced} not known` : "cost")] : [tile("?", "cost not known")]),
    ...some(sum.tools, plural(sum.tools, "tool call"), "is:tool"),
    ...some(sum.agents, plural(sum.agents, "sub-agent"), "is:agent"),
    ...some(sum.retries, plural(sum.retries, "retry", "retries"), "is:retry", "warm"),
    ...some(sum.errors, plural(sum.errors, "error"), "is:error", "bad"),
    ...some(sum.cancelled, "cancelled", "is:cancelled", "warm"),
    ...some(sum.unfinished, "unfinished", "is:unfinished", "warm"),
  );
}

function notes() {
  const told = [];
  const when = recording.spans.length ? `${wall(recording.at)}${recording.process ? `, process ${recording.process}` : ""}` : "nothing was recorded";
  told.push(when);
  if (!recording.ended) told.push("it has no end, so its process was killed or still runs");
  if (recording.full) told.push("the file was full, so it ended early");
  if (recording.lost) told.push(`${count(recording.lost)} events could not be recorded`);
  if (data.skipped) told.push(`${count(data.skipped)} unreadable ${data.skipped === 1 ? "line" : "lines"} skipped`);
  at("notes").textContent = told.join("; ");
}

function select(i, { details: show = !pane.hidden } = {}) {
  if (i === undefined || i < 0 || i >= recording.spans.length) return;
  if (!outline.row.has(i)) outline.reveal(i);
  selected = i;
  if (show) showDetails();
  keepInView();
  draw();
}

function showDetails() {
  if (!recording.spans[selected]) return;
  const wasHidden = pane.hidden;
  pane.hidden = false;
  document.body.classList.add("detailed");
  pane.replaceChildren(...details(recording.spans[selected], recording, () => { hideDetails(); tree.focus(); }));
  pane.scrollTop = 0;
  if (!wasHidden) return;
  keepInView(); // there is less room now
  redraw();
}

function hideDetails() {
  pane.hidden = true;
  pane.replaceChildren();
  document.body.classList.remove("detailed");
  redraw();
}

function setSearch(value) {
  search.value = value;
  const found = outline.search(value);
  at("found").textContent = outline.matching ? `${count(found)} of ${count(recording.spans.length)}` : "";
  if (outline.matching && !outline.matching[selected]) selected = outline.rows.find((i) => outline.matching[i]) ?? selected;
  if (!outline.matching) outline.reveal(selected);
  tree.scrollTop = 0;
  if (outline.row.has(selected)) select(selected);
  else draw();
}

function align(on) {
  aligned = on;
  view = null;
  at("align").setAttribute("aria-pressed", String(on));
  redraw();
}

function zoom(i) {
  const base = aligned ? starts[i] : 0;
  const [from, to] = [(recording.spans[i].from ?? 0) - base, end(i) - base];
  const margin = Math.max((to - from) * 0.03, 1e-6, Math.abs(to) * 1e-9);
  view = [from - margin, to + margin];
  redraw();
}

function foldAll(folded) {
  outline.foldAll(folded);
  if (folded) while (outline.parent(selected) >= 0) selected = outline.parent(selected);
  outline.arrange();
  select(selected);
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function help() {
  const close = make("button", { type: "button", onclick: () => at("help").close() }, "Close");
  const list = make("dl");
  for (const [key, what] of HELP) list.append(make("dt", {}, ...key.split(" ").flatMap((one) => [make("kbd", {}, one), " "])), make("dd", {}, what));
  at("help").replaceChildren(make("h2", {}, "Keys"), list, close);
  at("help").showModal();
}

function back() {
  if (!pane.hidden) { hideDetails(); tree.focus(); }
  else if (outline.matching) { setSearch(""); tree.focus(); }
  else if (view) { view = null; redraw(); }
}

function move(by) {
  const row = outline.row.get(selected) ?? 0;
  select(outline.rows[Math.min(outline.rows.length - 1, Math.max(0, row + by))]);
}

const inTree = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  PageDown: () => move(10),
  PageUp: () => move(-10),
  Home: () => select(outline.rows[0]),
  End: () => select(outline.rows.at(-1)),
  ArrowRight: () => {
    if (!outline.hasChildren(selected)) return;
    if (outline.isFolded(selected)) { outline.setFolded(selected, false); draw(); }
    else move(1);
  },
  ArrowLeft: () => {
    if (outline.hasChildren(selected) && !outline.isFolded(selected)) {
      outline.setFolded(selected, true);
      draw();
    } else select(outline.parent(selected));
  },
  Enter: () => showDetails(),
  " ": () => showDetails(),
  "*": () => {
    outline.unfoldAll(selected);
    draw();
  },
};
const anywhere = {
  "/": () => search.focus(),
  Escape: back,
  "?": help,
  t: theme,
  a: () => align(!aligned),
  z: () => zoom(selected),
  0: () => { view = null; redraw(); },
  n: () => outline.matching && select(outline.next(selected, (i) => outline.matching[i], 1)),
  N: () => outline.matching && select(outline.next(selected, (i) => outline.matching[i], -1)),
  e: () => select(outline.next(selected, (i) => recording.spans[i].status === "error", 1)),
  E: () => select(outline.next(selected, (i) => recording.spans[i].status === "error", -1)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("help").open || event.isComposing) return;
  if (event.target === search) {
    if (event.key === "Escape") { setSearch(""); tree.focus(); }
    else if (event.key === "Enter" || event.key === "ArrowDown") tree.focus();
    else return;
    event.preventDefault();
    return;
  }
  const typing = ["INPUT", "SELECT", "BUTTON"].includes(event.target.tagName);
  const does = (event.target === tree || event.target === document.body ? inTree[event.key] : undefined) ?? (typing && event.key !== "Escape" && event.key !== "/" ? undefined : anywhere[event.key]);
  if (!does) return;
  event.preventDefault();
  does();
});
tree.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  const i = Number(row.id.slice(4));
  if (event.target.closest(".twist") && outline.hasChildren(i)) {
    outline.setFolded(i, !outline.isFolded(i));
    select(i);
  } else {
    select(i, { details: true });
    if (event.detail === 2) zoom(i); // no dblclick: the first click has replaced the row
  }
});
tree.addEventListener("scroll", drawSoon, { passive: true });
new ResizeObserver(redraw).observe(tree);
search.addEventListener("input", () => setSearch(search.value));
at("unfold").addEventListener("click", () => foldAll(false));
at("fold").addEventListener("click", () => foldAll(true));
at("align").addEventListener("click", () => align(!aligned));
at("out").addEventListener("click", () => { view = null; redraw(); });
at("theme").addEventListener("click", theme);
at("keys").addEventListener("click", help);
at("recordings").addEventListener("change", () => open(Number(at("recordings").value)));

document.title = `${data.name} - allm trace`;
at("name").textContent = data.name;
at("pick").hidden = data.recordings.length < 2;
at("recordings").append(...data.recordings.map((one, i) => make("option", { value: i }, `${wall(one.at)} (${count(one.spans.length)} spans)`)));
at("recordings").value = String(data.recordings.length - 1);
open(data.recordings.length - 1);
tree.focus({ preventScroll: true });
document.documentElement.dataset.ready = "yes";
