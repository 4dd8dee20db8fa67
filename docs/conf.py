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


def read_as_markdown(_app, _what, _name, _object, _options, lines):
    """Docstrings are written for people: `x` is code, and so is an indented block after an empty line."""
    result: list[str] = []
    for line in lines:
        after_prose = len(result) > 1 and not result[-1] and not result[-2].startswith(" ")
        if line.startswith("    ") and after_prose:
            result += ["::", ""]
        result.append(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line))
    lines[:] = result


def show_defaults(_app, _what, _name, _object, _options, signature, returns):
    """A default that attrs makes for each object is shown as `...`: its sign for that says nothing to a reader."""
    return (None if signature is None else re.sub(r"= ?NOTHING\b", "= ...", signature)), returns


def setup(app):
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", read_as_markdown, priority=400)
    app.connect("autodoc-process-signature", show_defaults)
