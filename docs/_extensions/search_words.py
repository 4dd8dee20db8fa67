"""Lead the search from words that people use to the page that tells of them: see search_words.toml.

An entry of the index comes before the pages that only contain the words, and counts for queries that have it in them.
"""

import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging

log = logging.getLogger(__name__)
WORDS = tomllib.loads((Path(__file__).with_suffix(".toml")).read_text("utf-8"))["words"]


def plain(text):
    """For a comparison: "sub-agent" is "subagent", and "max_tokens" is "max tokens"."""
    return re.sub(r"[\s_-]+", "", text).lower()


def add_entries(app, doctree):
    """Add the entries of a page, whose text has to contain the words."""
    page = app.env.docname
    text = plain(doctree.astext())
    for place, words in WORDS.items():
        name, _, anchor = place.partition("#")
        if name == page:
            if anchor and anchor not in [
                section["slug"] for section in doctree.findall(nodes.section) if "slug" in section
            ]:
                log.warning("%s has no section %r", page, anchor)
            for word in words:
                if plain(word) not in text:
                    log.warning("%s does not say %r", page, word)
            doctree.append(addnodes.index(entries=[("single", word, anchor, "main", None) for word in words]))


def setup(app):
    """Connect."""
    app.connect("doctree-read", add_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
