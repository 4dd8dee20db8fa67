"""Count the words of each section for the search, which search_scores.js ranks: Sphinx's own index has no counts."""

import json
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

log = logging.getLogger(__name__)
FILE = "search_counts.js"
SYNONYMS = tomllib.loads(Path(__file__).with_name("search_words.toml").read_text("utf-8"))["synonyms"]
NAME = re.compile(r"\w+_\w+")  # found by its parts too


def stems(language, text):
    """How often each stem is in a text, as Sphinx finds the words of its index, and numbers such as 429."""
    words = [word.lower() for word in language.split(text)]
    words += [part.lower() for name in NAME.findall(text) for part in name.split("_") if part]
    return Counter(language.stem(word) for word in words if len(word) > 1 and word not in language.stopwords)


def own_text(section):
    """The text of a section, without those in it."""
    return "\n".join(child.astext() for child in section.children if not isinstance(child, nodes.section))


def sections(doctree):
    """Each section of a page: its anchor, which the first one needs none of, its title and its text."""
    for number, section in enumerate(doctree.findall(nodes.section)):
        title = section.next_node(nodes.title).astext()
        yield f"#{section['ids'][0]}" if number else "", title, own_text(section)


def counted(language, doctree):
    """What the search knows of a page: the words of its first paragraph, which says what it is about, and sections."""
    lead = next((one.astext() for one in doctree.findall(nodes.paragraph) if isinstance(one.parent, nodes.section)), "")
    found = [[anchor, title, stems(language, text)] for anchor, title, text in sections(doctree)]
    return {"lead": sorted(stems(language, lead)), "sections": found}


def synonyms(language):
    """For the stem of each word that people say, the stems of those that pages say."""
    found = defaultdict(list)
    for of_pages, of_people in SYNONYMS.items():
        for word in of_people.split():
            found[language.stem(word)].append(language.stem(of_pages))
    return found


def write(app, failed):
    """Write how often each stem is in each section, and what else counts for a word."""
    if failed or app.builder.name != "html":
        return
    language = app.builder.indexer.lang
    counts = {page: counted(language, app.env.get_doctree(page)) for page in sorted(app.env.found_docs)}
    values = {"counts": counts, "synonyms": synonyms(language)}
    said = {stem for page in counts.values() for *_, found in page["sections"] for stem in found}
    for word in SYNONYMS:
        if language.stem(word) not in said:
            log.warning("search_words.toml: no page says %r", word)
    text = json.dumps(values, separators=(",", ":"), sort_keys=True)
    Path(app.outdir, "_static", FILE).write_text(f"Object.assign(Search, {text});\n", "utf-8")


def add_to_search(app, page, _template, _context, _doctree):
    """Load the file where it is used, behind the search itself."""
    if page == "search":
        app.add_js_file(FILE, priority=900, loading_method="defer")


def setup(app):
    """Connect."""
    app.connect("build-finished", write)
    app.connect("html-page-context", add_to_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
