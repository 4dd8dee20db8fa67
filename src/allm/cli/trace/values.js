// Values as texts, and elements made of texts: what was recorded is never read as HTML.

const ICONS = {
  turn: "M2.5 3h11v8H8l-3 2.8V11H2.5z",
  request: "M2 8h11M9 4l4 4-4 4",
  step: "M3 4h10M3 8h7M3 12h4",
  model: "M8 1.5l1.7 4.8L14.5 8l-4.8 1.7L8 14.5l-1.7-4.8L1.5 8l4.8-1.7z",
  tool: "M10.5 2a3.8 3.8 0 0 0-3.6 5L2 11.8 4.2 14 9 9.1a3.8 3.8 0 0 0 5-3.6l-2.2 1.9-2-.8-.8-2z",
  agent: "M8 7.5a2.7 2.7 0 1 0 0-5.4 2.7 2.7 0 0 0 0 5.4zM2.8 14c.3-3 2.3-4.5 5.2-4.5s4.9 1.5 5.2 4.5",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13.2 1.8v3h-3",
  event: "M8 2.5L13.5 8 8 13.5 2.5 8z",
  other: "M8 13a5 5 0 1 0 0-10 5 5 0 0 0 0 10z",
};
const KINDS = {
  turn: "turn", request: "request", step: "step", model: "model call", tool: "tool", agent: "sub-agent", retry: "retry",
  event: "event", other: "span",
};

function make(tag, properties = {}, ...inner) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inner.filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

function icon(kind) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS(space, "path"));
  path.setAttribute("d", ICONS[kind] || ICONS.other);
  return svg;
}

function duration(seconds) {
  const size = Math.abs(seconds);
  if (size < 0.0005) return `${Math.round(seconds * 1e6)} µs`;
  if (size < 0.01) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (size < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (size < 10) return `${seconds.toFixed(2)} s`;
  if (size < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${rest} s`;
}

// The label of a tick, whose step is a round number: as few digits as it needs.
function tickLabel(seconds) {
  if (seconds === 0) return "0";
  const size = Math.abs(seconds);
  const [unit, name] = size < 0.001 ? [1e6, "µs"] : size < 1 ? [1e3, "ms"] : [1, "s"];
  return size < 600 ? `${Number((seconds * unit).toPrecision(6))} ${name}` : duration(seconds);
}

const counted = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function count(number) {
  return Math.abs(number) < 100000 ? counted.format(number) : short.format(number);
}

function dollars(amount) {
  if (amount === 0) return "$0";
  if (amount >= 100) return `$${counted.format(Math.round(amount))}`;
  if (amount >= 1) return `$${amount.toFixed(2)}`;
  const digits = Math.min(8, Math.max(2, 1 - Math.floor(Math.log10(amount))));
  return `$${amount.toFixed(digits)}`;
}

function wall(seconds) {
  const time = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

function precisely(seconds) {
  return `${wall(seconds)}.${String(Math.floor((seconds * 1000) % 1000)).padStart(3, "0")}`;
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
