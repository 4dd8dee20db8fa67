"""Sphinx configuration."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "allm-trio"
author = "The allm-trio authors"
copyright = author  # noqa: A001  # Sphinx's name for it
version = release = metadata.version("allm-trio")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "reference_names",
    "page_texts",
    "search_counts",
    "search_words",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3  # a page may link to a section of another one, as on GitHub
html_theme = "furo"
html_title = "allm-trio"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_search_scorer = str(HERE / "_extensions" / "search_scores.js")
html_use_index = False  # the search finds the names, and nothing links to an index of them
html_domain_indices = False
pygments_dark_style = "a11y-dark"  # the partner of the style that furo has for light

page_texts_summary = (
    "Provider-neutral execution of large language models in Python, on Trio: streaming, tools, sessions."
)

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True  # as they are written: a function's repr says nothing
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88  # a longer one has a line for each parameter
python_trailing_comma_in_multi_line_signatures = False
