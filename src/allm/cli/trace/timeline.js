// Draws the rows that can be seen, and their bars.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const [tree, rowsBox, space, search, ruler, pane] = ["tree", "rows", "space", "search", "ruler", "details"].map(at);
let recording, outline, selected, view, aligned, starts;

function end(i) {
  return recording.spans[i].to ?? recording.duration;
}

function range() {
  if (view) return view;
  if (!aligned) return [0, recording.duration || 1e-6];
  let longest = 1e-6;
  for (let i = 0; i < recording.spans.length; i = outline.after[i]) longest = Math.max(longest, end(i) - starts[i]);
  return [0, longest];
}

function ticks([from, to]) {
  const width = ruler.clientWidth || 300;
  const length = to - from;
  const least = (length * 84) / width;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least) ?? 10 * power;
  const first = Math.ceil(from / step - 1e-9);
  const place = (number) => ((number * step - from) / length) * width; // in pixels
  const marks = [];
  for (let number = first; place(number) < width - 40; number += 1) { // 40: room for its label
    const mark = make("span", {}, tickLabel(number * step));
    mark.style.left = `${place(number)}px`;
    marks.push(mark);
    if (marks.length > 100) break; // times so large that a step changes nothing
  }
  ruler.replaceChildren(...marks);
  tree.style.setProperty("--tick", `${(step / length) * width}px`);
  tree.style.setProperty("--offset", `${place(first)}px`);
}

function rowHeight() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
}

function draw() {
  const height = rowHeight();
  const { rows } = outline;
  space.style.height = `${rows.length * height}px`;
  const first = Math.max(0, Math.floor(tree.scrollTop / height) - 4);
  const last = Math.min(rows.length, Math.ceil((tree.scrollTop + tree.clientHeight) / height) + 4);
  const span = range();
  const shown = [];
  for (let row = first; row < last; row += 1) shown.push(line(rows[row], span));
  rowsBox.style.top = `${first * height}px`;
  rowsBox.replaceChildren(...shown);
  at("nothing").hidden = rows.length > 0;
  const seen = at(`row-${selected}`);
  if (seen) tree.setAttribute("aria-activedescendant", seen.id);
  else tree.removeAttribute("aria-activedescendant");
}

let waiting = false;
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function redraw() {
  ticks(range());
  at("out").hidden = view === null;
  draw();
}

function line(i, [from, to]) {
  const span = recording.spans[i];
  const depth = Math.min(outline.depth[i], 14);
  const opens = outline.hasChildren(i);
  const took = isPoint(span) ? "" : duration(end(i) - (span.from ?? 0));
  const name = make("div", { class: "name" }, make("span", { class: opens ? "twist" : "twist none" }), icon(span.kind),
    make("span", { class: "title" }, ...marked(span.title)), statusChip(span), hiddenErrors(i), make("span", { class: "note" }, ...marked(note(span))));
  name.style.paddingLeft = `${depth * (tree.clientWidth < 720 ? 10 : 16)}px`;
  const element = make("div", {
    class: outline.matching && !outline.matching[i] ? "row around" : "row", role: "treeitem", id: `row-${i}`,
    "aria-level": outline.depth[i] + 1, "aria-setsize": outline.siblings[i], "aria-posinset": outline.position[i],
    "aria-selected": String(i === selected), "aria-expanded": opens ? String(!outline.isFolded(i)) : undefined,
    "aria-label": [span.title, KINDS[span.kind], span.status, took, note(span)].filter(Boolean).join(", ").slice(0, 300),
  }, name, make("span", { class: "time" }, took), make("span", { class: "tokens" }, tokens(span)),
  make("span", { class: "cost" }, cost(span)), bar(i, from, to));
  element.style.setProperty("--kind", `var(--${KINDS[span.kind] ? span.kind : "other"})`);
  return element;
}

function hiddenErrors(i) {
  const hidden = outline.isFolded(i) ? outline.errorsInside(i) : 0;
  return hidden && recording.spans[i].status !== "error" ? make("span", { class: "chip error" }, "error inside") : null;
}

function note(span) {
  const facts = span.attributes ?? {};
  if (span.kind === "retry") return [facts.error?.reason, facts.error?.status].filter(Boolean).join(" ");
  if (span.status === "error" && isObject(facts.error)) return String(facts.error.message ?? "").slice(0, 200);
  if (span.kind === "step") return String(facts.finish_reason ?? "");
  if (span.kind === "other" || span.kind === "event") return plainFacts(facts);
  return [facts.provider, facts.model ?? facts.response_model].filter((one) => typeof one === "string").join(" ").slice(0, 200);
}

function plainFacts(facts) {
  const found = Object.entries(facts).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  return found.slice(0, 4).map(([name, value]) => `${name} ${String(value).slice(0, 60)}`).join(", ");
}

// Of a span that reports none itself, such as one of the user's own, what is within it.
function tokens(span) {
  const { input_tokens: into, output_tokens: out } = span.usage ?? span.inside ?? {};
  const part = (number) => (typeof number === "number" ? count(number) : "?");
  return span.usage || span.inside ? `${part(into)} → ${part(out)}` : "";
}

function cost(span) {
  const amount = (span.usage ?? span.inside)?.total_cost;
  return typeof amount === "number" ? dollars(amount) : "";
}

function marked(value) {
  const words = (outline.matching && outline.words) || [];
  if (!words.length || !value) return [value];
  const low = value.toLowerCase();
  const found = words.map((word) => [low.indexOf(word), word.length]).filter(([start]) => start >= 0).sort((a, b) => a[0] - b[0]);
  const parts = [];
  let done = 0;
  for (const [start, length] of found) {
    if (start < done) continue;
    parts.push(value.slice(done, start), make("mark", {}, value.slice(start, start + length)));
    done = start + length;
  }
  return [...parts, value.slice(done)];
}

function bar(i, from, to) {
  const span = recording.spans[i];
  const box = make("div", { class: "ruler", "aria-hidden": "true" });
  const base = aligned ? starts[i] : 0;
  const begin = (span.from ?? 0) - base;
  const wait = span.kind === "retry" ? Number(span.attributes?.delay) || 0 : 0;
  const stop = end(i) - base + wait;
  const length = to - from;
  const percent = (time) => ((time - from) / length) * 100;
  if (stop < from || begin > to) return box;
  const left = Math.max(-1, percent(begin));
  const right = Math.min(101, percent(stop));
  if (!isPoint(span) || wait) {
    const shape = make("div", { class: `span ${span.kind} ${span.status ?? "ok"}` });
    shape.style.left = `min(${left}%, calc(100% - 3px))`;
    shape.style.width = `${Math.max(0, right - left)}%`;
    if (span.first !== undefined && span.kind !== "step" && stop > begin) {
      const waited = make("i");
      waited.style.width = `${Math.min(100, (Math.max(0, percent(begin + span.first) - left) / Math.max(1e-9, right - left)) * 100)}%`;
      shape.append(waited);
    }
    box.append(shape);
  }
  if (isPoint(span)) {
    const point = make("div", { class: "point" });
    point.style.left = `clamp(5px, ${percent(begin)}%, calc(100% - 5px))`;
    box.append(point);
  }
  return box;
}

function keepInView() {
  const height = rowHeight();
  const top = (outline.row.get(selected) ?? 0) * height;
  if (top < tree.scrollTop) tree.scrollTop = top;
  else if (top + height > tree.scrollTop + tree.clientHeight) tree.scrollTop = top + height - tree.clientHeight;
}
