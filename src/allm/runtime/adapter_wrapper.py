"""`AdapterWrapper`: an adapter around an adapter, for caches, redaction, guards and the like.

It has all that the inner adapter has: what the model can do, the services beside chat, and whether it streams or
answers in one piece. So an engine treats both alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from allm.data.content import Part, TextPart, ToolCall
from allm.data.errors import Problem
from allm.data.message import Message
from allm.data.request import Request
from allm.http.call import HttpCall
from allm.http.keys import Secret
from allm.runtime.adapters import AdapterOptions, Companion, Emit, OutputMode, ToolMode
from allm.runtime.cache_store import CacheCreate
from allm.runtime.http_adapter import Adapter, as_adapter

if TYPE_CHECKING:
    from allm.runtime.batches import BatchLimits

__all__ = ["AdapterWrapper", "request_key", "with_texts"]


class AdapterWrapper(Adapter):
    """An adapter around another one; a subclass overrides what it changes.

        class Guarded(AdapterWrapper):
            def changed(self, request, options):
                check(request)
                return request

    Override `changed` for what is sent, and `stream` (or `send`, `open`) for how it is answered. All other members are
    those of the inner adapter, which is any adapter: of chat, embeddings, images and so on, also another wrapper.

    Attributes:
        inner: The adapter that is wrapped.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def changed(self, request: Any, _options: AdapterOptions, /) -> Any:
        """What is sent in place of a request; may raise, and then nothing is sent. By default the same.

        It is asked for calls, for counts of their tokens, and for prompts that a provider keeps (`allm.caches`). Files
        that are uploaded are not requests.
        """
        return request

    def prepare(self, request: Any, options: AdapterOptions, /) -> Any:
        """Let the inner adapter prepare the changed request."""
        return self.inner.prepare(self.changed(request, options), options)

    if TYPE_CHECKING:  # it has those that the inner adapter has

        async def stream(self, prepared: Any, emit: Emit, /) -> None:
            """Make the call and emit its events."""

        async def send(self, prepared: Any, /) -> Any:
            """Make the call, once."""

        def open(self, prepared: Any, /) -> Any:
            """Make the call, once; its answer is read while the block is open."""

        def prepare_stream(self, request: Any, options: AdapterOptions, /) -> Any:
            """As `prepare`, for `open`."""

    else:

        def __getattr__(self, name: str) -> Any:
            if name == "inner" or name[:2] == "__":  # before `__init__`, and what protocols of Python ask for
                raise AttributeError(name)
            found = getattr(self.inner, name)
            if name == "prepare_stream":
                return lambda request, options: found(self.changed(request, options), options)
            if name == "prepare_again":  # what it was prepared to is the inner adapter's only if `prepare` is ours
                if type(self).prepare is not AdapterWrapper.prepare:
                    raise AttributeError(name)
                return lambda prepared, request, options: found(prepared, self.changed(request, options), options)
            return found

    @property
    def provider(self) -> str:
        """The inner adapter's."""
        return self._inner.provider

    @property
    def requires_model(self) -> bool:
        """The inner adapter's."""
        return self._inner.requires_model

    @property
    def ignored_options(self) -> frozenset[str]:
        """The inner adapter's."""
        return self._inner.ignored_options

    def needs_structured_finalize(self, request: Request, /) -> bool | None:
        """The inner adapter's."""
        return self._inner.needs_structured_finalize(request)

    def output_modes(self, request: Request, options: AdapterOptions, /) -> Sequence[OutputMode] | None:
        """The inner adapter's."""
        return self._inner.output_modes(request, options)

    def tool_modes(self, request: Request, options: AdapterOptions, /) -> Sequence[ToolMode] | None:
        """The inner adapter's."""
        return self._inner.tool_modes(request, options)

    def refused_parameters(self, request: Request, options: AdapterOptions, /) -> Iterable[Problem]:
        """The inner adapter's."""
        return self._inner.refused_parameters(request, options)

    def defers_tools(self, request: Request, options: AdapterOptions, /) -> bool:
        """The inner adapter's."""
        return self._inner.defers_tools(request, options)

    def hosts_tools(self, request: Request, options: AdapterOptions, /) -> bool:
        """The inner adapter's."""
        return self._inner.hosts_tools(request, options)

    @property
    def most_logprobs(self) -> int:
        """The inner adapter's."""
        return self._inner.most_logprobs

    def batch_limits(self, model: str | None, /) -> BatchLimits:
        """The inner adapter's."""
        return self._inner.batch_limits(model)

    def companion(self, service: Companion, /) -> Any:
        """The inner adapter's; one that counts tokens, or keeps prompts, is given the changed request."""
        found = self._inner.companion(service)
        return _Beside(found, self) if service in {"token_counter", "caches"} and found is not None else found

    @property
    def _inner(self) -> Adapter:
        return as_adapter(self.inner)


class _Beside(AdapterWrapper):
    """Counts the tokens of what is sent, or keeps it."""

    def __init__(self, inner: Any, wrapper: AdapterWrapper) -> None:
        super().__init__(inner)
        self._wrapper = wrapper

    def changed(self, request: Any, options: AdapterOptions, /) -> Any:
        if isinstance(request, Request):
            return self._wrapper.changed(request, options)
        if isinstance(request, CacheCreate):
            return attrs.evolve(request, request=self._wrapper.changed(request.request, options))
        return request  # a name of a cache, or a page of their list


def request_key(prepared: Any) -> str | None:
    """A text that is the same for prepared calls that ask for the same, for a cache; None where that is not known.

    It is made of the address, the body and the headers without ids and secrets, so calls with different keys have the
    same.

    Args:
        prepared: What the `prepare` of an adapter over HTTP returned.
    """
    if not isinstance(prepared, HttpCall) or not isinstance(prepared.body, bytes):
        return None
    parts = [prepared.method, str(prepared.url)]
    for name, value in sorted(prepared.headers.items()):
        if not isinstance(value, Secret) and not name.endswith("request-id"):
            parts += [name, value]
    found = hashlib.sha256()
    for part in (*(part.encode() for part in parts), prepared.body):
        found.update(b"%d:" % len(part) + part)
    return found.hexdigest()


def with_texts(request: Request, change: Callable[[str], str]) -> Request:
    """The request with every text of its conversation changed by a function: also results of tools, and arguments.

    Pictures and files stay as they are, and so does reasoning, which providers sign. A message without a change is the
    same object, which is encoded only once.
    """
    messages = tuple(_with_texts(message, change) for message in request.messages)
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    return attrs.evolve(request, messages=messages)


def _with_texts(message: Message, change: Callable[[str], str]) -> Message:
    content: Any
    if isinstance(message.content, str):
        content = change(message.content)
        same = content == message.content
    else:
        content = tuple(_part(part, change) for part in message.content)
        same = all(new is old for new, old in zip(content, message.content, strict=True))
    return message if same else attrs.evolve(message, content=content)


def _part(part: Part, change: Callable[[str], str]) -> Part:
    if isinstance(part, TextPart) and (text := change(part.text)) != part.text:
        return attrs.evolve(part, text=text, citations=())  # their places are those of the former text
    if isinstance(part, ToolCall) and part.arguments is not None:
        arguments = _value(part.arguments, change)
        return part if arguments == part.arguments else attrs.evolve(part, arguments=arguments, raw_arguments=None)
    return part


def _value(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _value(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_value(inner, change) for inner in value]
    return value
