"""The public names are those in `__all__`: they exist, are sorted, and are in the reference."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import traceback
import typing
from pathlib import Path
from types import ModuleType

import pytest
import typing_extensions

import allm
from allm._public_names import MODULES, PLACES

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = "\n".join(page.read_text("utf-8") for page in [DOCS / "reference.md", *sorted(DOCS.glob("reference/*.md"))])
PUBLIC_MODULES = [
    "allm",
    "allm.adapters",
    "allm.aio",
    "allm.blocking",
    "allm.caches",
    "allm.compact",
    "allm.fake",
    "allm.files",
    "allm.hosted",
    "allm.keys",
    "allm.mcp",
    "allm.models",
    "allm.providers",
    "allm.render",
    "allm.session",
    "allm.telemetry",
    "allm.telemetry.otel",
    "allm.testing",
    "allm.web",
]
# Live objects that calls return. Users never construct them, so the types of their constructors are private.
RETURNED = {
    "Connect",
    "EmbeddingStream",
    "EventResponse",
    "EventStream",
    "HostedStream",
    "Instrumented",
    "SessionHost",
    "SessionLease",
    "SessionStream",
    "SpeechStream",
    "TranscriptionStream",
}


@pytest.fixture(params=PUBLIC_MODULES)
def module(request):
    """A module with public names."""
    return importlib.import_module(request.param)


def test_all_is_sorted_and_without_repeats(module):
    """A sorted list makes a change easy to review."""
    assert module.__all__ == sorted(set(module.__all__))


def test_every_name_exists(module):
    """Star imports work, including lazily loaded names."""
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_name_is_in_the_reference(module):
    """Every public name is documented."""
    documented = set(re.findall(rf"\b{re.escape(module.__name__)}\.(\w+)", REFERENCE))

    assert set(module.__all__) <= documented


def test_the_reference_names_nothing_else():
    """Every dotted name in the reference exists."""
    for name in sorted(set(re.findall(r"\ballm(?:\.\w+)+", REFERENCE))):
        found = allm
        for part in name.split(".")[1:]:
            found = getattr(found, part)


def test_names_are_imported_from_where_type_checkers_find_them():
    """A name that is imported when it is first used is the one that `if TYPE_CHECKING:` tells type checkers of."""
    tree = ast.parse(inspect.getsource(allm))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = {name for name, (module, _) in told.items() if module == "allm"}

    assert modules == MODULES
    assert {name: place for name, place in told.items() if name not in modules} == PLACES
    assert {*PLACES, *MODULES, "__version__"} == set(allm.__all__)


def test_names_of_the_kit_that_are_imported_late_are_those_that_type_checkers_find():
    """As those of `allm`."""
    tree = ast.parse(inspect.getsource(allm.adapters))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    told = {alias.name: node.module for node in block.body for alias in node.names}

    assert told == allm.adapters._PLACES
    assert set(told) <= set(allm.adapters.__all__)
    for name, module in told.items():
        assert getattr(allm.adapters, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'texts_size'"):
        _ = allm.adapters.texts_size
    assert set(allm.adapters.__all__) <= set(dir(allm.adapters))


@pytest.mark.parametrize("first", ["allm.stream_generate", "allm.Image", "allm.AdapterError", "allm.to_json"])
def test_any_name_may_be_used_first(first):
    """Each name brings what it needs, and is the same object however it is imported."""
    name = first.removeprefix("allm.")
    program = (
        f"import allm, pickle, sys; value = {first}; from allm import {name} as again; from allm import *; "
        f"assert value is again is {name} is vars(allm)[{name!r}]; assert pickle.loads(pickle.dumps(value)) is value; "
        "assert len(vars(allm)) > 150"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    """`allm` has what Python needs to say "Did you mean: 'stream_generate'?", though it imports its names late."""
    with pytest.raises(AttributeError, match="module 'allm' has no attribute 'stream_generated'") as caught:
        _ = allm.stream_generated
    assert (caught.value.name, caught.value.obj) == ("stream_generated", allm)
    assert "stream_generate" in dir(allm)


def test_the_reference_begins_with_the_public_modules():
    """Its first page names each of them, so that nobody takes one for private."""
    intro = (DOCS / "reference.md").read_text("utf-8").partition("```")[0]

    assert sorted(re.findall(r"`(allm[\w.]*)`", intro)) == sorted(PUBLIC_MODULES)


def test_constructors_that_are_not_for_users_are_not_shown():
    """The pages of the reference leave out those of live objects, whose types are private."""
    tree = ast.parse((DOCS / "_extensions" / "reference_names.py").read_text("utf-8"))
    [hidden] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "RETURNED"]

    assert ast.literal_eval(hidden) >= RETURNED


def docstrings(value):
    """The docstrings of a function, or of a class and its public members, with whether each is a property's."""
    members = vars(value).values() if inspect.isclass(value) else ()
    for member in (value, *members):
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function) and function.__doc__ and "allm" in str(function.__module__):
            yield function.__doc__, isinstance(member, property)


def test_no_sentence_of_a_docstring_is_taken_for_a_type(module):
    """Sphinx takes what is before a colon for the type of a property, or of what is returned."""
    taken = []
    for name in module.__all__:
        for text, is_property in docstrings(getattr(module, name)):
            lines = [*text.splitlines()[: int(is_property)], *re.findall(r"Returns:\n(.*)", text)]
            taken += [f"{name}: {line}" for line in lines if ":" in re.sub(r"`[^`]*`|\w+://", "", line)]
    assert not taken


def test_every_call_option_is_in_the_reference():
    """The table of options is complete and has no row for a removed option."""
    [table] = re.findall(r"^## Call options$(.*?)^## ", REFERENCE, re.DOTALL | re.MULTILINE)
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(allm.CallOptions.__annotations__)


def test_dir_lists_the_public_names():
    """Completion in an editor or shell shows every public name."""
    assert set(allm.__all__) <= set(dir(allm))


def annotations(value):
    """Every annotation of a function, or of a class and its public members, with the globals of its module."""
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if inspect.isfunction(value):
        function = inspect.unwrap(value)
        yield from ((hint, function.__globals__) for hint in function.__annotations__.values())
    elif inspect.isclass(value):
        for cls in (cls for cls in value.__mro__ if cls.__module__.startswith("allm")):
            # Values passed between an adapter's own methods are private; users only give it settings.
            members = {} if "allm.providers" in cls.__module__ else vars(cls)
            hidden = () if value.__name__ in RETURNED else ("__init__",)
            fields = vars(cls).get("__annotations__", {})
            yield from ((fields[name], vars(sys.modules[cls.__module__])) for name in fields if name[0] != "_")
            for name in [*(name for name in members if name[0] != "_"), *hidden]:
                yield from annotations(vars(cls).get(name))


def named_in(hint, names):
    """The names in an annotation with their values; for an annotation that is not a string, the classes in it."""
    source = getattr(hint, "__forward_arg__", hint)  # a TypedDict makes references of its annotations
    if not isinstance(source, str):
        return [(cls.__name__, cls) for cls in (source, *typing.get_args(source)) if inspect.isclass(cls)]
    used = {node.id for node in ast.walk(ast.parse(source, mode="eval")) if isinstance(node, ast.Name)}
    return [(name, names[name]) for name in used & names.keys()]


def is_public_elsewhere(name, value):
    """Whether it belongs to Python or another library: a class by its module, a `typing` form by its name."""
    if inspect.isclass(value) and value.__name__ == name:
        return not value.__module__.startswith("allm")
    forms = (getattr(typing, name, None), getattr(typing_extensions, name, None))
    return isinstance(value, (ModuleType, typing.ParamSpec, typing.TypeVar)) or any(
        value is form for form in forms if form is not None
    )


def test_every_type_of_a_public_signature_is_public(module):
    """A user's wrapper can be annotated, aliases included, without importing private modules."""
    public = [getattr(other, name) for other in map(importlib.import_module, PUBLIC_MODULES) for name in other.__all__]
    hidden = set()
    for name in module.__all__:
        for hint, names in annotations(getattr(module, name)):
            for used, value in named_in(hint, names):
                if not (is_public_elsewhere(used, value) or any(value is one or value == one for one in public)):
                    hidden.add(f"{used}, in {hint!r} of {name}")
    assert not hidden


def test_the_names_of_signatures_are_found():
    """If no annotation were found, the test above would pass."""
    assert any("Input" in hint for hint, _ in annotations(allm.generate))
    assert any("StreamAdapter" in hint for hint, _ in annotations(allm.Engine))
    assert any("tuple[Session, T_co]" in hint for hint, _ in annotations(allm.session.SessionStream))


def test_exceptions_and_functions_are_of_allm():
    """A traceback shows an importable name. attrs classes keep their module, which resolves their hints."""
    for name in allm.__all__:
        value = getattr(allm, name)
        if inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
            assert value.__module__ == "allm", name
            assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301  our own
        if inspect.isfunction(value):
            assert typing.get_type_hints(value), name
    [line] = traceback.format_exception_only(allm.AdapterError("too many", reason="rate_limited"))
    assert line.startswith("allm.AdapterError: too many (")
    assert typing.get_type_hints(allm.Response)["usage"] is allm.Usage
