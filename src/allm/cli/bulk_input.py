"""The inputs of `allm bulk`: the lines of a file, as requests with their keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import click

import allm

__all__ = ["BulkLines", "count_lines"]

_KEYS = ("key", "custom_id", "id")
_TEXTS = ("prompt", "text", "input")


@final
@attrs.define(eq=False, kw_only=True)
class BulkLines:
    """The requests, read as needed.

    Attributes:
        lines: The lines of the input.
        name: Where they come from, for error messages.
        as_json: Each line is a JSON document; else each line that is not blank is a prompt.
        system: Instructions that come before each request.
    """

    lines: Iterable[bytes]
    name: str
    as_json: bool
    system: str | None
    _keys: dict[int, str] = attrs.field(factory=dict[int, str], init=False)

    def __iter__(self) -> Iterator[Any]:
        """Read the requests.

        Raises:
            click.ClickException: A line is none.
        """
        index = 0
        for number, line in enumerate(self.lines, 1):
            if not line.strip():
                continue
            key, request = self._request(line, number)
            if key is not None:
                self._keys[index] = key
            index += 1
            yield request

    def key(self, index: int, _request: Any) -> str:
        """The key of a request: that of its line, else its index."""
        return self._keys.pop(index, str(index))

    def _request(self, line: bytes, number: int) -> tuple[str | None, Any]:
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not self.as_json:
                return None, self._with_system(text)
            document = json.loads(text)
        except ValueError as error:
            raise self._wrong(number, f"is no {'JSON' if self.as_json else 'UTF-8 text'} ({error})") from error
        if isinstance(document, str):
            return None, self._with_system(document)
        if not isinstance(document, dict):
            raise self._wrong(number, f"is {type(document).__name__}; expected a text or an object")
        key = next((document[name] for name in _KEYS if document.get(name) is not None), None)
        try:
            return None if key is None else str(key), self._of_object(document, number)
        except allm.ValidationError as error:
            raise self._wrong(number, f"has an invalid request ({error.problem})") from error

    def _of_object(self, document: Mapping[str, Any], number: int) -> Any:
        body = document.get("body")
        if isinstance(body, Mapping):  # a line for OpenAI's batches
            rest = {name: value for name, value in body.items() if name not in {"messages", "model"}}
            return allm.request(self._messages(body.get("messages"), number), options=rest)
        if "messages" in document:
            return self._messages(document["messages"], number)
        for name in _TEXTS:
            if isinstance(document.get(name), str):
                return self._with_system(document[name])
        raise self._wrong(number, f"has neither messages nor a text; expected one of: messages, {', '.join(_TEXTS)}")

    def _messages(self, messages: Any, number: int) -> Any:
        if not isinstance(messages, list):
            raise self._wrong(number, "has messages that are no list")
        found = allm.messages_from_openai(messages)
        return found if self.system is None else (allm.system(self.system), *found)

    def _with_system(self, text: str) -> Any:
        return text if self.system is None else (allm.system(self.system), allm.user(text))

    def _wrong(self, number: int, what: str) -> click.ClickException:
        return click.UsageError(f"{self.name}, line {number}, {what}.")


def count_lines(path: Path) -> int:
    """The number of lines that are not blank."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
