// The tree: which rows are shown, as some spans are folded and a search hides others. Spans stand in order, each before
// its children, so that the spans within span i are those from i + 1 to before `after[i]`.

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
    this.matching = null;
    this.within = null;
    for (let i = 0; i < size; i += 1) {
      const up = spans[i].up ?? -1;
      this.depth[i] = up < 0 ? 0 : Math.min(this.depth[up] + 1, 65535);
      this.position[i] = ++children[up < 0 ? size : up];
      this.after[i] = i + 1;
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

  isFolded(i) {
    return this.matching ? this.within[i] !== 1 && this.folded[i] === 1 : this.folded[i] === 1;
  }

  arrange() {
    const rows = [];
    for (let i = 0; i < this.spans.length; ) {
      const shown = !this.matching || this.matching[i] || this.within[i] || this.inMatch(i);
      if (shown) rows.push(i);
      i = !shown || this.isFolded(i) ? this.after[i] : i + 1;
    }
    this.rows = rows;
    this.row = new Map(rows.map((i, row) => [i, row]));
  }

  // What is in a matching span can be looked at by unfolding that.
  inMatch(i) {
    const up = this.parent(i);
    return up >= 0 && this.covered[up] === 1;
  }

  foldAll(folded) {
    for (let i = 0; i < this.spans.length; i += 1) this.folded[i] = folded && this.hasChildren(i) ? 1 : 0;
  }

  setFolded(i, folded) {
    if (!this.hasChildren(i)) return;
    this.folded[i] = folded ? 1 : 0;
    this.arrange();
  }

  reveal(i) {
    for (let up = this.parent(i); up >= 0; up = this.parent(up)) this.folded[up] = 0;
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

  // Show what has all words of a text, and what is around it. `is:error` and the like ask for a status or a kind.
  search(text) {
    const words = text.toLowerCase().split(/\s+/u).filter(Boolean);
    if (!words.length) {
      this.matching = null;
      this.arrange();
      return 0;
    }
    const size = this.spans.length;
    this.matching = new Uint8Array(size);
    this.within = new Uint8Array(size); // a match is inside
    this.covered = new Uint8Array(size); // it or one around it matches
    let found = 0;
    for (let i = 0; i < size; i += 1) {
      const matches = words.every((word) => (word.startsWith("is:") ? this.is(i, word.slice(3)) : this.text(i).includes(word)));
      const up = this.parent(i);
      this.covered[i] = matches || (up >= 0 && this.covered[up]) ? 1 : 0;
      if (!matches) continue;
      found += 1;
      this.matching[i] = 1;
      for (let above = up; above >= 0 && !this.within[above]; above = this.parent(above)) this.within[above] = 1;
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
