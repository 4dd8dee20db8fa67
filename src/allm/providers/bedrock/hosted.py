"""Tools that Amazon's models run themselves: web grounding and a code interpreter.

https://docs.aws.amazon.com/nova/latest/userguide/tool-built-in.html. A call is a `toolUse` block of the type
`server_tool_use`, its result a `toolResult` block in the same message; both go back as they came. The interpreter's
result is JSON in a text; what a search found is told by citations alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import HostedForm, Problem, UniqueIds, as_objects, as_text, own_tools, parse_arguments, wire_tools
from allm.data.content import HostedCall, HostedStatus
from allm.data.events import AdapterEvent, HostedCallCompleted, HostedCallStarted
from allm.data.request import Request
from allm.providers.bedrock.names import PROVIDER

__all__ = ["HostedBlocks", "with_hosted"]

_GROUNDING, _INTERPRETER = "nova_grounding", "nova_code_interpreter"
_KINDS = {_GROUNDING: "web_search", _INTERPRETER: "code_execution"}
_RESULT = "_result"
"""What the type of a result's block ends with; before it is the name of the tool."""
_DOMAINS = "name the site in the prompt, or use OpenAI, Anthropic or xAI"
_FORMS = {
    "web_search": HostedForm(
        lambda _: {"systemTool": {"name": _GROUNDING}},
        advice={"allowed_domains": _DOMAINS, "blocked_domains": _DOMAINS},
    ),
    "code_execution": HostedForm(
        lambda _: {"systemTool": {"name": _INTERPRETER}}, advice={"file_ids": "send the files as parts of the message"}
    ),
}


def with_hosted(request: Request, problems: list[Problem]) -> Request:
    """The request with its hosted tools in Amazon's words, among its options."""
    made = wire_tools(request.tools, "Bedrock", PROVIDER, _FORMS, problems)
    if request.tool_choice == "none":  # there is no such choice: then none is offered
        return attrs.evolve(request, tools=own_tools(request.tools))
    given: Any = request.options.get("toolConfig")
    config: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    config["tools"] = [*(wire for _, wire in made), *(config.get("tools") or ())]
    return attrs.evolve(request, tools=own_tools(request.tools), options={**request.options, "toolConfig": config})


@attrs.define(eq=False)
class HostedBlocks:
    """The calls of one answer, each under the id that its result refers to."""

    _ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)
    _begun: dict[str, HostedCall] = attrs.field(factory=dict[str, HostedCall], init=False)

    def events(self, field: str, data: Mapping[str, Any]) -> list[AdapterEvent]:
        """The events of a block that is complete.

        Args:
            field: `toolUse` or `toolResult`.
            data: What it holds.
        """
        sent = as_text(data.get("toolUseId")) or ""
        if field == "toolUse":
            call = self._call(sent, data)
            return [HostedCallStarted(call.id, call)]
        begun, events = self._begun.pop(sent, None), list[AdapterEvent]()
        if begun is None:
            name = (as_text(data.get("type")) or "").removesuffix(_RESULT)
            begun = HostedCall(self._ids.new(sent, "tooluse"), _kind(name), "in_progress")
            events.append(HostedCallStarted(begun.id, begun))
        status, output = _outcome(data, begun.kind)
        done = HostedCall(begun.id, begun.kind, status, None, output, {field: data}, provider=PROVIDER)
        return [*events, HostedCallCompleted(begun.id, done)]

    def _call(self, sent: str, data: Mapping[str, Any]) -> HostedCall:
        asked = data.get("input")
        given: dict[str, Any] = asked if isinstance(asked, dict) else {}
        kind, wire = _kind(as_text(data.get("name")) or ""), {"toolUse": data}
        call = HostedCall(self._ids.new(sent, "tooluse"), kind, "in_progress", given, data=wire, provider=PROVIDER)
        self._begun[sent] = call
        return call


def _kind(name: str) -> str:
    return _KINDS.get(name, name) or "unknown"


def _outcome(data: Mapping[str, Any], kind: str) -> tuple[HostedStatus, Any]:
    texts = [text for item in as_objects(data.get("content")) if (text := as_text(item.get("text")))]
    failed = data.get("status") == "error"
    ran = parse_arguments("".join(texts)) if kind == "code_execution" else None
    if ran is not None and "exitCode" in ran:
        output = {"stdout": ran.get("stdOut"), "stderr": ran.get("stdErr"), "return_code": ran["exitCode"]}
        return "failed" if failed or ran.get("isError") else "completed", output
    if failed:
        return "failed", {"error": "".join(texts)}
    return "completed", None if kind == "web_search" else {"content": data.get("content")}
