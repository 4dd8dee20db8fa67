"""The shapes of lists and dictionaries, and names for shapes that contain themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.json.text import dumps, loads
from allm.data.structuring import Key, KeyMisfit, Misfit, each
from allm.data.types.refined import Refined
from allm.data.types.scalars import Choice
from allm.data.types.shapes import Definitions, Reading, Schema, Shape

__all__ = ["Alias", "Listing", "Mapped", "Row"]


@define(eq=False)
class Listing(Shape):
    """A list of items of one type, made into a list, tuple, set or deque."""

    item: Shape
    make: Callable[[Iterable[Any]], Any]
    words = "a list"
    sort: str | None = "list"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not isinstance(value, list):
            raise Misfit(self.words, value)
        load = self.item.load
        return self.make(each(enumerate(value), lambda _, item: load(item, reading)))

    @override
    def schema(self, definitions: Definitions) -> Schema:
        items = self.item.schema(definitions)
        return {"type": "array", **({"items": items} if items else {})}

    @override
    def rank(self, value: Any) -> float | None:
        return 5 if isinstance(value, list) else None


@define(eq=False)
class Row(Shape):
    """A list whose items have a type each: a tuple, or a class that is a list in JSON."""

    items: Sequence[Shape]
    least: int  # the number of items that have to be there
    make: Callable[[list[Any]], Any]
    rest: Shape | None = None  # of any further items
    key: Any = None
    title: str = ""
    words = "a list"
    sort: str | None = "list"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not isinstance(value, list):
            raise Misfit(self.words, value)
        most = len(self.items)
        rest = self.rest
        if len(value) < self.least or (rest is None and len(value) > most):
            count = f"{most}" if self.least == most else f"{self.least} to {most}"
            count = f"{self.least} or more" if rest else count
            raise ValueError(f"expected {count} items, got {len(value)}")
        items = self.items

        def load(index: int, item: Any) -> Any:
            shape = items[index] if index < most or rest is None else rest
            return shape.load(item, reading)

        return self.make(each(enumerate(value), load))

    @override
    def schema(self, definitions: Definitions) -> Schema:
        if self.key is None:
            return self._schema(definitions)
        return definitions.refer(self.key, self.title, lambda them: {"title": self.title, **self._schema(them)})

    def _schema(self, definitions: Definitions) -> Schema:
        items = [item.schema(definitions) for item in self.items]
        most = len(items)
        # For no items, `prefixItems` has to be left out: an empty one is no valid schema.
        first = {"prefixItems": items} if items else {}
        if self.rest is not None:
            return {"type": "array", **first, "items": self.rest.schema(definitions), "minItems": self.least}
        # `maxItems` says that there are no more: some servers take no `false` in place of a schema.
        return {"type": "array", **first, "minItems": self.least, "maxItems": most}

    @override
    def rank(self, value: Any) -> float | None:
        return 4 if isinstance(value, list) else None


@define(eq=False)
class Mapped(Shape):
    """An object with any keys and values of one type."""

    name: Shape
    item: Shape
    make: Callable[[Iterable[Any]], Any]
    words = "an object"
    sort: str | None = "object"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not isinstance(value, dict):
            raise Misfit(self.words, value)

        def pair(key: str, item: Any) -> tuple[Any, Any]:
            return self._key(key, reading), self.item.load(item, reading)

        return self.make(each(((Key(key), item) for key, item in value.items()), pair))

    def _key(self, key: str, reading: Reading) -> Any:
        """Structure a key; JSON keys are texts, so an int key is written as its digits."""
        text = str(key)
        try:
            return self.name.load(text, reading)
        except Exception as error:
            try:
                meant = loads(text)
                if not isinstance(meant, str):  # a text is the key as it is, not what it quotes
                    return self.name.load(meant, reading)
            except Exception:
                raise KeyMisfit(error) from None
            raise KeyMisfit(error) from None

    @override
    def schema(self, definitions: Definitions) -> Schema:
        items = self.item.schema(definitions)
        names = _of_names(self.name, definitions)
        return {
            "type": "object",
            **({"propertyNames": names} if names else {}),
            "additionalProperties": items or True,
        }

    @override
    def rank(self, value: Any) -> float | None:
        return 6 if isinstance(value, dict) else None


def _of_names(shape: Shape, definitions: Definitions) -> Schema:
    """The schema of an object's keys, as far as it says more than that they are texts."""
    inner: Shape | None = shape
    while isinstance(inner, (Refined, Alias)):
        inner = inner.inner
    if isinstance(inner, Choice) and not all(isinstance(plain, str) for plain, _ in inner.options):
        return {"enum": [plain if isinstance(plain, str) else dumps(plain).decode() for plain, _ in inner.options]}
    found = dict(shape.schema(definitions))
    kind = found.pop("type", "string")
    if kind == "boolean":
        return {"enum": ["true", "false"]}
    if kind == "integer":
        return {"pattern": r"^-?\d+$"}  # the digits of a bound are not those of its pattern
    return found if kind == "string" and "anyOf" not in found else {}


@define(eq=False)
class Alias(Shape):
    """A name for a type that contains itself, such as `Json = dict[str, "Json"] | str`."""

    title: str
    inner: Shape | None = None
    is_used: bool = False

    def _there(self) -> Shape:
        if self.inner is None:
            raise TypeError(f"{self.title} stands for itself only; expected a type")
        return self.inner

    @property
    @override
    def words(self) -> str:  # type: ignore[override]
        return self._there().words

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        return self._there().load(value, reading)

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return definitions.refer(self, self.title, self._there().schema)

    @override
    def rank(self, value: Any) -> float | None:
        return self._there().rank(value)

    @override
    def takes_null(self) -> bool:
        return self.inner is not None and self.inner.takes_null()

    @override
    def tags(self) -> dict[str, tuple[list[Any], bool]] | None:
        return self._there().tags()

    @override
    def label(self) -> str:
        return self.title
