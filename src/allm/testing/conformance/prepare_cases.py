"""Cases for `prepare`: it is pure, and finds invalid calls before anything is sent."""

from __future__ import annotations

import copy
import os
import re
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import attrs

from allm.data.content import ProviderPart, TextPart
from allm.data.errors import AllmError, EngineError, ValidationError
from allm.data.json.codec import to_json
from allm.data.message import Message, Role, user
from allm.execution.options import check_adapter
from allm.http.keys import Secret
from allm.runtime.adapters import AdapterOptions
from allm.runtime.engine import Engine
from allm.testing.conformance.checks import hides, holds, same
from allm.testing.conformance.samples import FOREIGN, TEXT, foreign_thread, full_request
from allm.testing.conformance.setup import CAPABILITIES, KEY, Setting, case

__all__ = ["PrepareCases"]

VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
SCRIPTS = (TEXT,) * 3  # enough for every case here


@contextmanager
def _nothing_is_sent() -> Generator[None, None, None]:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise AssertionError("prepare used the network; it has to leave that to stream")

    with ExitStack() as patches:
        for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
            patches.enter_context(mock.patch.object(owner, name, refuse))
        yield


def _without_keys() -> Any:
    """The environment without any keys."""
    others = {name: value for name, value in os.environ.items() if not name.endswith(("KEY", "TOKEN"))}
    return mock.patch.dict(os.environ, others, clear=True)


class PrepareCases(Setting):
    """Cases for `prepare`."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities of the adapter."""
        return CAPABILITIES - frozenset(self.lacks)

    @case()
    def test_declared_capabilities_are_known_and_have_reasons(self) -> None:
        """A misspelt capability would skip nothing, and a skipped case needs a reason."""
        same(
            sorted(set(self.lacks) - CAPABILITIES),
            [],
            f"`lacks` has unknown capabilities; expected some of {sorted(CAPABILITIES)}",
        )
        holds(all(self.lacks.values()), "every entry of `lacks` needs a reason")

    @case()
    def test_adapter_has_the_protocol_and_a_provider_name(self) -> None:
        """`provider` is a short name, and `prepare` and `stream` exist."""
        adapter = self.offline_adapter(scripts=SCRIPTS)
        check_adapter(Engine(adapter=adapter))
        holds(
            re.fullmatch(r"[a-z][a-z0-9_-]*", adapter.provider), f"provider is {adapter.provider!r}, not a short name"
        )

    @case()
    def test_prepare_sends_nothing(self) -> None:
        """It works without Trio and without a network."""
        request = full_request(self.model, self.capabilities)
        with _nothing_is_sent():
            self.offline_adapter(scripts=SCRIPTS).prepare(request, AdapterOptions())

    @case("pure_prepare")
    def test_prepare_gives_the_same_for_the_same_request(self) -> None:
        """The prepared call depends on the arguments only: no clock, no counter, no random id."""
        adapter = self.offline_adapter(scripts=SCRIPTS)
        request = full_request(self.model, self.capabilities)
        first, second = (self.sent_by(adapter.prepare(request, AdapterOptions())) for _ in range(2))
        same(second, first, "prepare made another call of the same request (override sent_by if only its form differs)")

    @case()
    def test_prepare_leaves_the_request_unchanged(self) -> None:
        """Schemas, options and arguments belong to the caller, down to the innermost mapping."""
        request = attrs.evolve(full_request(self.model, self.capabilities), options={"user": {"id": [1]}})
        before, text = copy.deepcopy(request), to_json(request)
        self.offline_adapter(scripts=SCRIPTS).prepare(request, AdapterOptions())
        same(request, before, "prepare changed the request")
        same(to_json(request), text, "prepare changed the request")

    @case("tools", "http")
    def test_unknown_tool_choice_is_rejected(self) -> None:
        """A request that the provider must reject is not sent."""
        request = attrs.evolve(full_request(self.model, self.capabilities), tool_choice="no_such_tool")
        try:
            self.offline_adapter(scripts=SCRIPTS).prepare(request, AdapterOptions())
        except ValidationError as error:
            holds("no_such_tool" in error.message, f"the message does not say which tool is unknown: {error.message!r}")
        else:
            raise AssertionError("prepare took tool_choice='no_such_tool', which is no tool of the request")

    @case()
    def test_parts_of_another_provider_are_accepted(self) -> None:
        """A conversation can move between providers; data that only the first one can read is left out."""
        request = full_request(self.model, self.capabilities)
        request = attrs.evolve(request, messages=foreign_thread(self.capabilities))
        prepared = self.offline_adapter(scripts=SCRIPTS).prepare(request, AdapterOptions())
        if self.has("http"):
            sent = repr(self.sent_by(prepared))
            holds(FOREIGN not in sent, f"prepare would send another provider's opaque data ({FOREIGN}): {sent}")

    @case("http")
    def test_parts_of_another_provider_in_a_prompt_are_refused(self) -> None:
        """The model would answer without what the user wants it to read."""
        roles: tuple[Role, ...] = ("user", "system")
        for role in roles:
            part = ProviderPart("someone_else", {"type": "document", "text": FOREIGN})
            prompt = [Message(role, [TextPart("Read this."), part]), user("Well?")]
            request = attrs.evolve(full_request(self.model, self.capabilities), messages=prompt)
            try:
                self.offline_adapter(scripts=SCRIPTS).prepare(request, AdapterOptions())
            except ValidationError as error:
                expected = (("messages", 0, "content", 1), "unsupported_part")
                holds(expected in error.errors, f"expected {expected}, as unsupported_parts gives it: {error.errors}")
            else:
                raise AssertionError(f"prepare dropped a part of another provider from a message of role {role!r}")

    @case("api_key")
    def test_missing_key_is_an_error_before_anything_is_sent(self) -> None:
        """The error names the environment variable for the key."""
        with _without_keys():
            try:
                adapter = self.offline_adapter(api_key=None)
                adapter.prepare(full_request(self.model, self.capabilities), AdapterOptions())
            except EngineError as error:
                same(error.reason, "missing_key", "the reason of a missing key")
                holds(VARIABLE.search(error.message), f"the message names no environment variable: {error.message!r}")
            else:
                raise AssertionError("prepare built a call without an API key")

    @case("api_key")
    def test_invalid_key_is_an_error_before_anything_is_sent(self) -> None:
        """A line break or a non-ASCII character cannot be in a header; the message does not show the key."""
        request = full_request(self.model, self.capabilities)
        for broken in (f"{KEY}\nx-injected: 1", f"{KEY}ü"):
            try:
                adapter = self.offline_adapter(api_key=broken, scripts=SCRIPTS)
                adapter.prepare(request, AdapterOptions())
            except AllmError as error:
                same(error.reason, "invalid_key", "the reason of a key that no header can carry")
                hides(KEY, [("the error", repr(error))])
            else:
                raise AssertionError(f"prepare took a key that no header can carry: ...{broken.removeprefix(KEY)!r}")

    @case("api_key")
    def test_prepared_call_hides_the_key(self) -> None:
        """Logging a prepared call or an adapter does not log the key."""
        request = full_request(self.model, self.capabilities)
        adapter = self.offline_adapter(scripts=SCRIPTS)
        for options in (AdapterOptions(), AdapterOptions(api_key=Secret(KEY))):
            prepared = adapter.prepare(request, options)
            shown = [("str", str(prepared)), ("repr", repr(prepared)), ("format", f"{prepared}")]
            shown.append(("URL", str(getattr(prepared, "url", ""))))  # which the HTTP library logs
            hides(KEY, [(f"{name} of the prepared call", text) for name, text in shown])
        hides(KEY, [("repr of the adapter", repr(adapter)), ("str of the adapter", str(adapter))])
