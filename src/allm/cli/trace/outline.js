// The tree: which rows are shown, as some spans are folded and a search hides others. Spans stand in order, each before
// its children, so that the spans within span i are those from i + 1 to before `after[i]`.

const OPENED = 1;
const CLOSED = 2;

class Outline {
  constructor(spans) {
    this.spans = spans;
    const size = spans.length;
    this.depth = new Uint16Array(size);
    this.after = new Uint32Array(size);
    this.position = new Uint32Array(size); // among its siblings, from 1
    this.siblings = new Uint32Array(size); // children of span i; those of no span are the last
    const children = new Uint32Array(size + 1);
    this.folded = new Uint8Array(size);
    this.errors = new Uint32Array(size + 1); // among the spans before span i
    this.matching = null;
    this.within = null;
    for (let i = 0; i < size; i += 1) {
      const up = spans[i].up ?? -1;
      this.depth[i] = up < 0 ? 0 : Math.min(this.depth[up] + 1, 65535);
      this.position[i] = ++children[up < 0 ? size : up];
      this.after[i] = i + 1;
      this.errors[i + 1] = this.errors[i] + (spans[i].status === "error" ? 1 : 0);
    }
    for (let i = size - 1; i >= 0; i -= 1) {
      const up = this.parent(i);
      if (up >= 0 && this.after[up] < this.after[i]) this.after[up] = this.after[i];
      this.siblings[i] = children[up < 0 ? size : up];
    }
    if (size > 400) this.foldAll(true);
    this.texts = new Array(size);
    this.arrange();
  }

  parent(i) {
    return this.spans[i].up ?? -1;
  }

  hasChildren(i) {
    return this.after[i] > i + 1;
  }

  errorsInside(i) {
    return this.errors[this.after[i]] - this.errors[i + 1];
  }

  // While a search hides spans, a row is open if a match is inside, and what the user opens shows all that is in it.
  isFolded(i) {
    if (!this.matching) return this.folded[i] === 1;
    if (this.chosen[i]) return this.chosen[i] === CLOSED;
    if (this.within[i]) return false;
    return this.inOpened[i] ? this.folded[i] === 1 : true;
  }

  arrange() {
    const rows = [];
    let opened = 0; // everything before this index is within a span that the user opened
    for (let i = 0; i < this.spans.length; ) {
      let shown = true;
      if (this.matching) {
        this.inOpened[i] = i < opened ? 1 : 0;
        shown = this.matching[i] || this.within[i] || i < opened;
        if (shown && this.chosen[i] === OPENED) opened = Math.max(opened, this.after[i]);
      }
      if (shown) rows.push(i);
      i = !shown || this.isFolded(i) ? this.after[i] : i + 1;
    }
    this.rows = rows;
    this.row = new Map(rows.map((i, row) => [i, row]));
  }

  foldAll(folded) {
    for (let i = 0; i < this.spans.length; i += 1) this.folded[i] = folded && this.hasChildren(i) ? 1 : 0;
  }

  setFolded(i, folded) {
    if (!this.hasChildren(i)) return;
    if (this.matching) this.chosen[i] = folded ? CLOSED : OPENED;
    else this.folded[i] = folded ? 1 : 0;
    this.arrange();
  }

  unfoldAll(i) {
    this.folded.fill(0, i, this.after[i]);
    if (this.matching) this.chosen[i] = OPENED;
    this.arrange();
  }

  reveal(i) {
    for (let up = this.parent(i); up >= 0; up = this.parent(up)) {
      this.folded[up] = 0;
      if (this.matching && !this.matching[i]) this.chosen[up] = OPENED;
      else if (this.matching && this.chosen[up] === CLOSED) this.chosen[up] = 0;
    }
    this.arrange();
  }

  text(i) {
    if (this.texts[i] === undefined) {
      const span = this.spans[i];
      const parts = [span.title, span.name, KINDS[span.kind], span.status, ...strings(span.attributes), ...strings(span.content)];
      this.texts[i] = parts.filter(Boolean).join("\n").toLowerCase();
    }
    return this.texts[i];
  }

  // Show what has all words of a text, and what is around it: "several words" are one, and `is:error` and the like ask
  // for a status or a kind.
  search(text) {
    const words = [...text.toLowerCase().matchAll(/"([^"]+)"|\S+/gu)].map(([word, quoted]) => quoted ?? word);
    if (!words.length) {
      this.matching = null;
      this.arrange();
      return 0;
    }
    const size = this.spans.length;
    this.matching = new Uint8Array(size);
    this.within = new Uint8Array(size); // a match is inside
    this.chosen = new Uint8Array(size); // OPENED or CLOSED by the user since
    this.inOpened = new Uint8Array(size);
    let found = 0;
    for (let i = 0; i < size; i += 1) {
      const matches = words.every((word) => (word.startsWith("is:") ? this.is(i, word.slice(3)) : this.text(i).includes(word)));
      if (!matches) continue;
      found += 1;
      this.matching[i] = 1;
      for (let above = this.parent(i); above >= 0 && !this.within[above]; above = this.parent(above)) this.within[above] = 1;
    }
    this.words = words.filter((word) => !word.startsWith("is:"));
    this.arrange();
    return found;
  }

  is(i, word) {
    const span = this.spans[i];
    return span.kind === word || (span.status ?? "ok") === word || (word === "request" && this.parent(i) < 0);
  }

  next(i, wanted, step) {
    for (let at = i + step; at >= 0 && at < this.spans.length; at += step) if (wanted(at)) return at;
    return -1;
  }
}

function strings(value, found = [], depth = 0) {
  if (typeof value === "string" || typeof value === "number") found.push(String(value));
  else if (value && typeof value === "object" && depth < 30) {
    for (const [name, inner] of Object.entries(value)) {
      if (!Array.isArray(value)) found.push(name);
      strings(inner, found, depth + 1);
    }
  }
  return found;
}
