"""What the reference makes of docstrings, and how the search finds names that have none.

Docstrings are written for people: `x` is code, and so is an indented block after an empty line. The fields of a class
are one line each, with their types. A name that a page of the reference only tells of, such as the name of a type,
becomes an object as well, so that the search leads to that place.
"""

import inspect
import re

import attrs
from docutils import nodes
from sphinx.domains.python import ModuleEntry, ObjectEntry

import allm

PUBLIC = re.compile(r"allm(\.\w+)+")
MODULES = re.compile(r"~?\b(?:allm|collections|typing|typing_extensions)\.(?:\w+\.)*~?(\w+)")
PLACES = (nodes.section, nodes.entry)  # the page's own text and tables, not the docstrings in it

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


def read_as_markdown(_app, _what, _name, _object, _options, lines):
    """Mark code as reStructuredText does."""
    result: list[str] = []
    for line in lines:
        after_prose = len(result) > 1 and not result[-1] and not result[-2].startswith(" ")
        if line.startswith("    ") and after_prose and not result[-2].endswith("::"):
            result += ["::", ""]
        result.append(line)
    text = "\n".join(result)
    lines[:] = re.sub(r"(?<!`)`((?:[^`\n]|\n(?!\s*\n))+)`(?!`)", r"``\1``", text).split("\n")


def put_types_beside_names(_app, _what, _name, _object, _options, lines):
    """Napoleon writes the type of an attribute below its text; here it follows the name, as in a signature."""
    result: list[str] = []
    attribute = 0
    for line in lines:
        if line.startswith(".. attribute::"):
            attribute = len(result) + 1
        if attribute and line.startswith("   :type:"):
            result.insert(attribute, MODULES.sub(r"\1", line))
            attribute = 0
        else:
            result.append(line)
    lines[:] = result


def show_signature(_app, what, _name, found, _options, signature, returns):
    """Show no constructor that is not for users, and defaults in words; `...` is one that is made for each object."""

    def value(match):
        default = attrs.fields_dict(found)[match[1]].default
        if default is attrs.NOTHING or isinstance(default, attrs.Factory):
            return "..."
        made = f"{type(default).__name__}()"
        return getattr(default, "__name__", made if attrs.has(type(default)) else repr(default))

    if signature is None:
        return None
    if what == "class" and (found.__name__ in RETURNED or signature == NO_CONSTRUCTOR):
        return "", ""
    signature = re.sub(r"attr_dict\['(\w+)'\]\.default", value, signature)
    signature = re.sub(r"= ?NOTHING\b", "= ...", signature)
    # Where it has to write a type by itself, as it does with a ParamSpec, Sphinx puts the module before each name.
    return MODULES.sub(r"\1", signature) if "~" in signature else signature, returns


def give_names_places(app, doctree):
    """Mark where a page of the reference tells of a name in its text."""
    if app.env.docname.startswith("reference"):
        for literal in doctree.findall(nodes.literal):
            name = literal.astext()
            if PUBLIC.fullmatch(name) and name not in doctree.ids and isinstance(literal.parent.parent, PLACES):
                literal["ids"].append(name)
                doctree.ids[name] = literal


def add_objects(app):
    """Tell the search of these names, when all links are made: they are no targets that a link could mean."""
    env = app.env
    python = env.domains["py"]
    for page in sorted(name for name in env.found_docs if name.startswith("reference")):
        for literal in env.get_doctree(page).findall(nodes.literal):
            name = literal.astext()
            if name in literal["ids"] and name not in python.objects:
                kind = kind_of(name)
                python.objects[name] = ObjectEntry(page, name, kind, aliased=False)
                if kind == "module":
                    python.modules[name] = ModuleEntry(page, name, "", "", deprecated=False)
    return []


def kind_of(name):
    """The type of object that Sphinx calls it: a module, a function, a class or something else."""
    found = allm
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    kinds = {"module": inspect.ismodule, "class": inspect.isclass, "function": callable}
    return next((kind for kind, is_one in kinds.items() if is_one(found)), "data")


def setup(app):
    """Run before and after napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", read_as_markdown, priority=400)
    app.connect("autodoc-process-docstring", put_types_beside_names, priority=600)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("doctree-read", give_names_places)
    app.connect("html-collect-pages", add_objects)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 2}
