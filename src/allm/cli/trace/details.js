// The details of one span: times, usage, attributes, and what was said if that was recorded.

const LONG = 20000; // characters that are shown at once
const TOLD = new Set(["usage", "error", "time_to_first_token", "time_to_first_event", "type"]);

function details(span, recording, close) {
  const end = span.to ?? null;
  const head = make("h2", {}, icon(span.kind), make("span", { class: "title" }, span.title), statusChip(span),
    make("button", { type: "button", class: "close", onclick: close, "aria-label": "Close details (Esc)" }, "Close"));
  head.style.setProperty("--kind", `var(--${span.kind})`);
  const attributes = span.attributes ?? {};
  const parts = [head, make("p", { class: "lead" }, KINDS[span.kind] === span.title ? span.name : KINDS[span.kind] ?? "span")];
  if (isObject(attributes.error)) parts.push(failure(attributes.error));
  parts.push(pairs([
    ["began", precisely(recording.at + (span.from ?? 0))],
    ["after", duration(span.from ?? 0)],
    ["took", end === null ? "not finished" : isPoint(span) ? null : duration(end - (span.from ?? 0))],
    ["first token after", span.first === undefined ? null : duration(span.first)],
    ["speed", speed(span)],
  ]));
  if (span.usage) parts.push(make("h3", {}, "Usage"), pairs(usage(span.usage)));
  if (span.inside) parts.push(make("h3", {}, "With everything inside"), pairs(usage(span.inside)));
  const { tools, ...content } = span.content ?? {};
  for (const [name, value] of Object.entries(content)) parts.push(make("h3", {}, name.replaceAll("_", " ")), ...said(value));
  if (tools) parts.push(make("h3", {}, "tools"), ...offered(tools));
  const facts = Object.entries(attributes).filter(([name, value]) => !TOLD.has(name) && value !== null);
  if (facts.length) parts.push(make("h3", {}, "Attributes"), pairs(facts.map(([name, value]) => [name, shown(value)])));
  if (!span.content && !recording.content && ["model", "tool", "turn", "request", "agent"].includes(span.kind)) {
    parts.push(make("p", { class: "lead" }, "What was said is not in this recording: record(..., content=True) keeps it."));
  }
  return parts;
}

function isPoint(span) {
  return span.kind === "retry" || span.kind === "event";
}

function statusChip(span) {
  return span.status ? make("span", { class: `chip ${span.status}` }, span.status) : null;
}

function speed(span) {
  const tokens = span.usage?.output_tokens;
  if (!tokens || span.first === undefined || span.to === undefined || span.kind !== "model") return null;
  const streamed = span.to - (span.from ?? 0) - span.first;
  return streamed > 0.1 ? `${Math.round(tokens / streamed)} tokens/s` : null;
}

function usage(counts) {
  return Object.entries(counts).filter(([name, value]) => name !== "type" && value !== null && !isEmpty(value))
    .map(([name, value]) => [name.replaceAll("_", " "),
      typeof value !== "number" ? shown(value) : name.endsWith("_cost") ? dollars(value) : counted.format(value)]);
}

function isEmpty(value) {
  return value !== null && typeof value === "object" && !Object.keys(value).length;
}

function failure(error) {
  const { type, message, ...rest } = error;
  const facts = Object.entries(rest).filter(([, value]) => value !== null && !isEmpty(value));
  return make("div", { class: "failure", role: "note" }, make("b", {}, String(type ?? "error")), " ", ...text(String(message ?? ""), "span"),
    facts.length ? pairs(facts.map(([name, value]) => [name.replaceAll("_", " "), shown(value)])) : null);
}

function pairs(entries) {
  const list = make("dl");
  for (const [name, value] of entries) {
    if (value === null || value === undefined) continue;
    list.append(make("dt", {}, name), make("dd", {}, ...(Array.isArray(value) ? value : [value])));
  }
  return list;
}

function shown(value) {
  if (typeof value === "string") return text(value, "span");
  if (value !== null && typeof value === "object") return text(JSON.stringify(value, null, 2), "pre");
  return String(value);
}

// A long text is cut, with a button for the rest: a browser needs seconds for a line of a million characters.
function text(value, tag, shownNow = LONG) {
  const element = make(tag, { dir: "auto", class: tag === "div" ? "said" : undefined }, value.slice(0, shownNow));
  if (value.length <= shownNow) return [element];
  const more = make("button", { type: "button", class: "more" }, `Show more (${counted.format(value.length - shownNow)} characters)`);
  let at = shownNow;
  more.addEventListener("click", () => {
    const next = at + LONG * 10;
    element.append(value.slice(at, next));
    at = next;
    if (at >= value.length) more.remove();
    else more.textContent = `Show more (${counted.format(value.length - at)} characters)`;
  });
  return [element, more];
}

function said(value) {
  if (typeof value === "string") return text(value, "div");
  if (Array.isArray(value) && value.length && value.every((one) => isObject(one) && typeof one.role === "string")) return value.map(message);
  if (isObject(value) && typeof value.role === "string") return [message(value)];
  return text(JSON.stringify(value, null, 2), "pre");
}

// Their descriptions are long, and the same for every call.
function offered(tools) {
  const names = Array.isArray(tools) ? tools.map((one) => (typeof one?.name === "string" ? one.name : "?")) : [];
  return [make("details", {}, make("summary", {}, names.join(", ") || "what the model was offered"), ...shown(tools))];
}

function message(one) {
  const role = ["user", "assistant", "tool", "system"].includes(one.role) ? one.role : "other";
  const box = make("div", { class: `message ${role}` }, make("b", {}, [one.role, one.name, one.is_error ? "error" : ""].filter(Boolean).join(", ")));
  const parts = one.parts ?? one.content ?? [];
  for (const part of Array.isArray(parts) ? parts : [parts]) {
    if (isObject(part) && part.type === "ToolCall") {
      box.append(make("div", { class: "call" }, make("b", {}, String(part.name))), ...shown(part.arguments ?? part.raw_arguments ?? {}));
      continue;
    }
    const words = isObject(part) ? part.text ?? part.content : part;
    if (part?.type === "ReasoningPart") box.append(make("b", {}, "reasoning"));
    if (typeof words === "string") box.append(...text(words, "div"));
    else box.append(...text(JSON.stringify(part, null, 2), "pre"));
  }
  return box;
}
