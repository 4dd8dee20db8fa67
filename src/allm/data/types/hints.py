"""What the annotations of classes and functions refer to: names in text, and type variables."""

from __future__ import annotations

import builtins
import inspect
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import frozen

__all__ = ["Scope", "annotations_of", "bind", "is_type", "names_in", "scope_of_function", "substitute"]


def is_type(value: Any) -> bool:
    """Whether it is a type as an annotation has it: a class, `list[Trip]`, `Cat | Dog`, a NewType, an alias."""
    return (
        isinstance(value, type)
        or typing.get_origin(value) is not None
        or type(value).__module__ in {"typing", "typing_extensions"}
    )


@frozen
class Scope:
    """Where an annotation was written, which is where its names are looked up.

    Attributes:
        module: The names of the module.
        own: Names that hide those of the module, such as that of the class itself.
        fallback: Names that count where no other has them, such as those of a class's body.
        variables: The types that stand for type variables here: `{T: int}` in `Box[int]`.
        qualname: The qualified name of the class or function.
    """

    module: dict[str, Any] = attrs.field(factory=dict)
    own: Mapping[str, Any] = attrs.field(factory=dict)
    fallback: Mapping[str, Any] = attrs.field(factory=dict)
    variables: Mapping[Any, Any] = attrs.field(factory=dict)
    qualname: str = ""

    def resolve(self, annotation: Any) -> Any:
        """The type that an annotation is, or that it is the text of.

        Raises:
            TypeError: As `evaluate`.
        """
        text = getattr(annotation, "__forward_arg__", annotation)
        return self.evaluate(text) if isinstance(text, str) else annotation

    def evaluate(self, text: str) -> Any:
        """The type that `text` is the annotation of.

        Raises:
            TypeError: It names something that cannot be found, or is no type.
        """
        places = [self.own, *_enclosing(self.qualname, self.module), self.module, self.fallback]
        if not self.module:
            places += _callers()
        names: ChainMap[str, Any] = ChainMap(*map(dict, places))
        try:
            return eval(text, {"__builtins__": builtins}, names)  # noqa: S307  the text is code of the program
        except NameError as error:
            raise TypeError(
                f"its annotation cannot be resolved ({error}): define the type at module level, and import it also "
                "when typing.TYPE_CHECKING is False"
            ) from error
        except RecursionError:
            raise
        except Exception as error:
            raise TypeError(f"its annotation {text!r} is no type: {error}") from error


def names_in(module: str) -> dict[str, Any]:
    """The names of a module; none if it is not imported."""
    if module == "types":  # Python 3.11 says so of what `make_dataclass` makes, wherever it is called
        return {}
    return getattr(sys.modules.get(module), "__dict__", {})


def _frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _enclosing(qualname: str, module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The variables of the functions in which a local class or function was written, as far as they still run."""
    parts = qualname.split(".<locals>.")
    for count in range(len(parts) - 1, 0, -1):
        wanted = ".<locals>.".join(parts[:count])
        for frame in _frames():
            if frame.f_code.co_qualname == wanted and frame.f_globals.get("__name__") == module.get("__name__"):
                yield frame.f_locals
                break


def _callers() -> Iterator[Mapping[str, Any]]:
    """The names that those see who use a type that does not say where it was written, such as `list["Trip"]`."""
    for frame in _frames():
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "allm":
            yield frame.f_locals
            yield frame.f_globals


def scope_of_function(function: Any, caller_names: Mapping[str, Any]) -> Scope:
    """The scope of a function's annotations; `caller_names` are those of whoever makes a tool of it."""
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    cells = zip(code.co_freevars, plain.__closure__ or (), strict=False) if code is not None else ()
    own = {**caller_names}
    for name, cell in cells:
        try:
            own[name] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    qualname = getattr(plain, "__qualname__", "")
    return Scope(getattr(plain, "__globals__", {}), own=own, qualname=qualname)


def annotations_of(cls: Any, variables: Mapping[Any, Any]) -> dict[str, tuple[Any, Scope]]:
    """The annotation of each field, inherited ones first, each with the scope of the class that declares it."""
    variables_of = dict(_with_bases(cls, variables))
    found: dict[str, tuple[Any, Scope]] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ == "builtins" and base is not cls:
            continue
        scope = Scope(
            names_in(base.__module__),
            own={base.__name__: base, "Self": cls},
            fallback=vars(base),
            variables=variables_of.get(base, {}),
            qualname=base.__qualname__,
        )
        for name, annotation in inspect.get_annotations(base).items():
            found[name] = (annotation, scope)
    return found


def _with_bases(cls: Any, variables: Mapping[Any, Any]) -> Iterator[tuple[Any, Mapping[Any, Any]]]:
    """The class and each base, with the types of its variables: for `class IntBox(Box[int])`, `Box` has `{T: int}`."""
    yield cls, variables
    for base in vars(cls).get("__orig_bases__", getattr(cls, "__bases__", ())):
        origin = typing.get_origin(base) or base
        if origin not in (typing.Generic, typing.Protocol, object):
            given = bind(origin, [substitute(item, variables) for item in typing.get_args(base)])
            yield from _with_bases(origin, given)


def bind(generic: Any, given: typing.Sequence[Any]) -> dict[Any, Any]:
    """The type for each type variable of a generic class or alias."""
    return dict(zip(getattr(generic, "__parameters__", ()), given, strict=False))


def substitute(hint: Any, variables: Mapping[Any, Any]) -> Any:
    """`hint` with its type variables replaced; one without a type stands for anything."""
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    still_open = getattr(hint, "__parameters__", ()) if typing.get_origin(hint) is not None else ()
    if not variables or not still_open:
        return hint
    return hint[tuple(variables.get(variable, variable) for variable in still_open)]
