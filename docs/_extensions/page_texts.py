"""The pages as text, for language models and search engines: llms.txt, llms-full.txt, a .md for each .html.

The first paragraph of a page, as far as it fits, is its description: in llms.txt and in the page's head.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.writers.text import TextWriter

TOCTREE = re.compile(r"^```\{toctree\}\n.*?^```\n+", re.DOTALL | re.MULTILINE)
LONGEST = 160  # characters that a search engine shows


def description(doctree):
    """The first sentences of a page."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            sentences = re.split(r"(?<=[.?!]) ", paragraph.astext().replace("\n", " "))
            text = sentences.pop(0)
            while sentences and len(text) + len(sentences[0]) < LONGEST:
                text += " " + sentences.pop(0)
            return text.removesuffix(":").removesuffix(".") + "."
    return ""


def describe(_app, _page, _template, context, doctree):
    """Put the description into the page's head."""
    if doctree is not None:
        text = description(doctree).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{text}" />\n'


def groups(env):
    """The captions of the sidebar, each with its pages and those below them, in order."""
    yield "Start", [env.config.root_doc]
    for toctree in env.get_doctree(env.config.root_doc).findall(addnodes.toctree):
        pages = [page for _, page in toctree["entries"]]
        yield toctree["caption"], [each for page in pages for each in [page, *env.toctree_includes.get(page, [])]]


def as_text(app, page):
    """A page as it is written, or, where that names objects only, as it is read."""
    text = Path(app.env.doc2path(page)).read_text("utf-8")
    if "{eval-rst}" in text:
        builder = app.registry.create_builder(app, "text", app.env)
        builder.init()
        document = app.env.get_and_resolve_doctree(page, builder)
        writer = TextWriter(builder)
        writer.document = document
        writer.translate()
        text = writer.output
    return TOCTREE.sub("", text).strip() + "\n"


def write(app):
    """Write the files beside the pages."""
    out, env = Path(app.outdir), app.env
    lines = [f"# {app.config.html_title}", "", f"> {app.config.page_texts_summary}", ""]
    lines += ["All of these pages but the reference, in one file: [llms-full.txt](llms-full.txt).", ""]
    whole = []
    for caption, pages in groups(env):
        lines += [f"## {caption}", ""]
        for page in pages:
            text, doctree = as_text(app, page), env.get_doctree(page)
            (out / f"{page}.md").write_text(text, "utf-8")
            if not page.startswith("reference/"):  # it would double the size
                whole.append(f"<!-- {page}.md -->\n\n{text}")
            lines.append(f"- [{env.titles[page].astext()}]({page}.md): {description(doctree)}")
        lines.append("")
    (out / "llms.txt").write_text("\n".join(lines), "utf-8")
    (out / "llms-full.txt").write_text("\n".join(whole), "utf-8")
    return []


def setup(app):
    """Connect."""
    app.add_config_value("page_texts_summary", "", "env")
    app.connect("html-page-context", describe)
    app.connect("html-collect-pages", write, priority=400)  # before names are added that would be doubtful targets
    return {"parallel_read_safe": True, "parallel_write_safe": True}
