"""Answers that do not fit their type: what the model is told, and a single call that asks again.

A turn asks again with a further step (`chat.py`). A single call has no steps, so its stream goes on behind the
`MessageCompleted` of an answer that does not fit: `MessagesAdded` has that answer and what is wrong with it, and the
events of the next answer follow. The response is the last answer, with the usage of all of them.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import attrs

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AllmError, ValidationError
from allm.data.events import MessagesAdded
from allm.data.message import Message, user
from allm.data.response import Response, parse_answer
from allm.execution.options import ModelCall, output_type, prepare_call
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.event_stream import StreamContext
from allm.execution.stream.folds import StreamCollector

if TYPE_CHECKING:
    from allm.data.types.shapes import Shape

__all__ = ["AnswerCheck", "AnswersFold", "ask_until_it_fits"]

_COMPLETE = frozenset({"stop", "length", "content_filter"})
"""Finish reasons of answers that are looked at: any other one is the beginning of something else, or a failure."""


@frozen
class AnswerCheck:
    """Checks answers against a type.

    It is made where the call is, since that is where the names in a type such as `list["Trip"]` are looked up.
    """

    hint: Any
    shape: Shape

    @classmethod
    def of(cls, call: ModelCall) -> AnswerCheck | None:
        """The check of a call that asks again; None where nothing is known to check."""
        from allm.data.types.output import answer_shape

        hint = output_type(call)
        return None if hint is None else cls(hint, answer_shape(hint))

    def correction(self, response: Response) -> Message | None:
        """What the model is told about an answer that does not fit; None if it fits, or is no complete answer."""
        if response.tool_calls or response.pending_hosted_calls or response.finish_reason not in _COMPLETE:
            return None
        try:
            parse_answer(response.message, self.hint, self.shape)
        except ValidationError as error:
            return user(f"That is not valid: {error.message} Answer again, with the corrected JSON only.")
        return None


async def ask_until_it_fits(call: ModelCall, prepared: Any, context: StreamContext, check: AnswerCheck) -> None:
    """Run a call, and ask again while its answer does not fit, up to `validation_retries` times."""
    fold = context.send.folded(AnswersFold(check.hint))
    for _ in range(call.execution_options.validation_retries):
        await run_model_call(call, prepared, context, fold.current.response)
        answer = fold.current.response()
        correction = check.correction(answer)
        if correction is None:
            return
        added = (answer.message, correction) if answer.message.content else (correction,)
        call = attrs.evolve(call, request=attrs.evolve(call.request, messages=(*call.request.messages, *added)))
        try:
            prepared = prepare_call(call)
        except AllmError:  # the answer stays, and `parsed()` says what is wrong with it
            return
        await context.send.send((MessagesAdded(added),))
    await run_model_call(call, prepared, context, fold.current.response)


@define(eq=False)
class AnswersFold:
    """Folds the events of a call that may ask again.

    Attributes:
        current: The fold of the newest answer.
    """

    output_type: Any
    current: StreamCollector = attrs.field(init=False)
    _earlier: list[Response] = attrs.field(factory=list[Response], init=False)

    def __attrs_post_init__(self) -> None:
        self.current = StreamCollector(self.output_type)

    def add(self, event: Any) -> None:
        """Fold one event."""
        if type(event) is MessagesAdded:
            self._earlier.append(self.current.response())
            self.current = StreamCollector(self.output_type)
        else:
            self.current.add(event)

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """See `StreamCollector`."""
        self.current.more(kind, block_id, texts)

    def result(self) -> Response:
        """The newest answer; while it has no content, the one before it with the state of the newest."""
        newest = self.current.response()
        if not self._earlier:
            return newest
        shown = newest
        if not newest.message.content:
            shown = attrs.evolve(
                self._earlier[-1],
                finish_reason=newest.finish_reason,
                raw_finish_reason=newest.raw_finish_reason,
                error=newest.error,
            )
        answers = [*self._earlier, newest]
        abandoned = [answer.abandoned_usage for answer in answers if answer.abandoned_usage is not None]
        return attrs.evolve(
            shown,
            usage=reduce(operator.add, (answer.usage for answer in answers)),
            abandoned_usage=reduce(operator.add, abandoned) if abandoned else None,
        )

    def failure(self) -> AllmError | None:
        """The failure that ended the call."""
        return self.current.failure()

    def facts(self) -> dict[str, Any]:
        """Attributes for telemetry."""
        return {**self.current.facts(), "usage": self.result().usage}
