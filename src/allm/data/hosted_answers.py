"""What a program answers to a hosted call that waits for it: an approval, a denial, a screenshot.

An answer is a `HostedCall` too, with the `id` of the call that it answers, in a message of the user. Its `output` is
what was said, in words that no provider has; the provider that made the call gets it in its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import attrs

from allm.data.content import HostedCall
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.message import Message
from allm.data.problems import Problem, shown

__all__ = ["approve", "deny", "pending_hosted_calls", "screenshot"]


def approve(call: HostedCall) -> HostedCall:
    """The answer that lets the provider make a call that waits for approval, for a message of the user.

        messages = [*messages, response.message, allm.user(allm.hosted.approve(call))]

    Args:
        call: One of `pending_hosted_calls`.

    Raises:
        ValidationError: `invalid_answer`: it does not wait for an approval.
    """
    return _answer(call, {"approved": True}, of="mcp")


def deny(call: HostedCall, reason: str | None = None) -> HostedCall:
    """The answer that a call that waits for approval must not be made; the model is told.

    Args:
        call: One of `pending_hosted_calls`.
        reason: Why, for the model.

    Raises:
        ValidationError: `invalid_answer`: it does not wait for an approval.
    """
    return _answer(call, {"approved": False, **({} if reason is None else {"reason": reason})}, of="mcp")


def screenshot(
    call: HostedCall, image: Image, *, acknowledged: Iterable[Mapping[str, Any]] | None = None
) -> HostedCall:
    """The answer to a call of your computer: what its screen shows after you have done what the call asks for.

    Args:
        call: One of `pending_hosted_calls`, whose `input` has the `action` or the `actions`.
        image: The whole screen.
        acknowledged: The `pending_safety_checks` of the call's input, once a person has seen them.

    Raises:
        ValidationError: `invalid_answer`: it is no call of a computer, or safety checks are not acknowledged.
    """
    if not isinstance(image, Image):
        _refuse("image", f"is {shown(image)}; expected an Image")
    answer = _answer(call, {}, of="computer")
    seen = [dict(check) for check in acknowledged or ()]
    known = {check.get("id") for check in seen}
    unseen = [check for check in (call.input or {}).get("pending_safety_checks") or () if check.get("id") not in known]
    if unseen:
        told = "; ".join(str(check.get("message") or check.get("code") or check.get("id")) for check in unseen)
        sentence = f"lacks safety checks of the call ({told}); show them to a person, and pass those that may be passed"
        _refuse("acknowledged", sentence)
    checks = {"acknowledged_safety_checks": seen} if seen else {}
    file = image.upload
    if file is None:
        return attrs.evolve(answer, output={"image_url": image.url or image.to_data_uri(), **checks})
    if file.provider != call.provider:
        _refuse("image", f"is a file that {file.provider} keeps, and {call.provider} made the call; give its bytes")
    return attrs.evolve(answer, output={"file_id": file.id, **checks})


def pending_hosted_calls(messages: Iterable[Message]) -> tuple[HostedCall, ...]:
    """The hosted calls of the newest answer of a conversation that wait for the caller, in order.

    Args:
        messages: The conversation; only its end is looked at.
    """
    answered: set[str] = set()
    for message in reversed(tuple(messages)):
        if message.role == "assistant":
            return tuple(
                call for call in message.hosted_calls if call.status == "requires_action" and call.id not in answered
            )
        answered.update(part.id for part in message.parts if isinstance(part, HostedCall))
    return ()


def _answer(call: HostedCall, output: dict[str, Any], *, of: str) -> HostedCall:
    if not isinstance(call, HostedCall):
        _refuse("call", f"is {shown(call)}; expected a HostedCall", ", such as one of response.pending_hosted_calls")
    if call.status != "requires_action":
        _refuse("call", f"has the status {call.status!r}; only a call that 'requires_action' has an answer")
    if (call.kind == "computer") != (of == "computer"):
        right = "screenshot(call, image)" if call.kind == "computer" else "approve(call) or deny(call)"
        _refuse("call", f"is of kind {call.kind!r}, which has another answer", f": allm.hosted.{right}")
    return attrs.evolve(call, status="completed", input=None, output=output, data={})


def _refuse(name: str, sentence: str, advice: str = "") -> NoReturn:
    raise ValidationError([Problem((name,), "invalid_answer", sentence, advice=advice)], reason="invalid_answer")
