"""Sphinx configuration."""

import re
from importlib import metadata

project = "allm-trio"
author = "The allm-trio authors"
copyright = author  # noqa: A001  # Sphinx's name for it
version = release = metadata.version("allm-trio")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_llms_txt"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # a page may link to a section of another one, as on GitHub
html_theme = "furo"
html_title = "allm-trio"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = True  # llms-full.txt is made of the pages as they are written

llms_txt_title = html_title
llms_txt_summary = "Provider-neutral execution of large language models in Python, on Trio: streaming, tools, sessions."

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True


# Calls return these; users construct none, so how that is done is not shown. A protocol has no constructor.
RETURNED = {
    "BulkRun",
    "Connect",
    "EmbeddingStream",
    "EngineGroup",
    "EventResponse",
    "EventStream",
    "HostedStream",
    "Instrumented",
    "OpenCall",
    "SessionHost",
    "SessionLease",
    "SessionStream",
    "SpeechStream",
    "StreamBlock",
    "TranscriptionStream",
}
NO_CONSTRUCTOR = "(*args, **kwargs)"

# How Python writes a default, and how a reader would.
DEFAULTS = (
    (r"= ?NOTHING\b", "= ..."),  # made by attrs for each object
    (r"<function (?:[\w.]+\.)?(?!_)(\w+)>", r"\1"),
    (r"<function [^>]*>", "..."),
    (r"<class '(?:\w+\.)*(\w+)'>", r"\1"),
    (r"\b(AnswerLimits|RetryPolicy)\([^()]*\)", r"\1()"),  # with defaults of their own
    (r"~typing\.~(\w+)", r"\1"),
)


def read_as_markdown(_app, _what, _name, _object, _options, lines):
    """Docstrings are written for people: `x` is code, and so is an indented block after an empty line."""
    result: list[str] = []
    for line in lines:
        after_prose = len(result) > 1 and not result[-1] and not result[-2].startswith(" ")
        if line.startswith("    ") and after_prose and not result[-2].endswith("::"):
            result += ["::", ""]
        result.append(line)
    text = "\n".join(result)
    lines[:] = re.sub(r"(?<!`)`((?:[^`\n]|\n(?!\s*\n))+)`(?!`)", r"``\1``", text).split("\n")


def show_types_by_name(_app, _what, _name, _object, _options, lines):
    """The type of an attribute is shown as in a signature: type variables and Python's own without their modules."""
    for index, line in enumerate(lines):
        if line.lstrip().startswith(":type:"):
            lines[index] = re.sub(r"\b(?:allm|collections|typing|typing_extensions)\.(?:\w+\.)*(\w+)", r"\1", line)


def show_signature(_app, what, _name, found, _options, signature, returns):
    """Show no constructor that is not for users, and defaults in words."""
    if signature is None:
        return None
    if what == "class" and (found.__name__ in RETURNED or signature == NO_CONSTRUCTOR):
        return "", ""
    for pattern, shown in DEFAULTS:
        signature = re.sub(pattern, shown, signature)
    return signature, returns


def setup(app):
    """Napoleon, which reads the sections of a docstring, has the priority 500."""
    app.connect("autodoc-process-docstring", read_as_markdown, priority=400)
    app.connect("autodoc-process-docstring", show_types_by_name, priority=600)
    app.connect("autodoc-process-signature", show_signature)
