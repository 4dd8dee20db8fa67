"""Count the words of each page for the search, which search_scores.js ranks: Sphinx's own index has no counts."""

import json
import re
from collections import Counter
from pathlib import Path

FILE = "search_counts.js"
NAME = re.compile(r"\w+_\w+")  # found by its parts too


def write(app, failed):
    """Write how often each stem is in each page, as Sphinx finds the words of its index."""
    if failed or app.builder.name != "html":
        return
    language = app.builder.indexer.lang
    counts = {}
    for page in sorted(app.env.found_docs):
        text = app.env.get_doctree(page).astext()
        words = language.split(text) + [part for name in NAME.findall(text) for part in name.split("_")]
        stems = Counter(language.stem(word.lower()) for word in words if language.word_filter(word))
        counts[page] = {"length": stems.total(), "stems": stems}
    text = json.dumps(counts, separators=(",", ":"), sort_keys=True)
    Path(app.outdir, "_static", FILE).write_text(f"Search.counts = {text};\n", "utf-8")


def add_to_search(app, page, _template, _context, _doctree):
    """Load the file where it is used, behind the search itself."""
    if page == "search":
        app.add_js_file(FILE, priority=900, loading_method="defer")


def setup(app):
    """Connect."""
    app.connect("build-finished", write)
    app.connect("html-page-context", add_to_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
