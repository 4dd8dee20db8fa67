"""What came back from one model call, and what it used."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeVar, get_args, overload

import attrs
import typing_extensions  # typing's TypeVar has no default before Python 3.13
from typing_extensions import TypeForm

from allm.data.attrs_classes import frozen
from allm.data.citation import Citation
from allm.data.content import HostedCall, ReasoningPart, TextPart, ToolCall
from allm.data.errors import AllmError, Problem, ValidationError
from allm.data.logprobs import TokenLogprob
from allm.data.message import Message
from allm.data.one_line import Printer, one_line
from allm.data.problems import headers_field, mapping_field
from allm.data.remedies import UnwrapReason as UnwrapReason

if TYPE_CHECKING:
    from allm.data.types.shapes import Shape

__all__ = ["FinishReason", "OutputT", "OutputT_co", "Response", "UnwrapError", "UnwrapReason", "Usage", "parse_answer"]

T = TypeVar("T")
OutputT = typing_extensions.TypeVar("OutputT", default=Any)
"""The type given as `response_format=`; Any where none is given, so that a plain `Response` stays a complete type."""
OutputT_co = typing_extensions.TypeVar("OutputT_co", covariant=True, default=Any)
"""The same for the frozen values that hold it."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error", "other"]


@frozen(kw_only=True)
class Usage:
    """Token counts of one call or of several. None means not reported, never 0; a reported 0 stays 0.

    Attributes:
        input_tokens: The inclusive prompt total: cached and cache-written tokens are part of it.
        output_tokens: Everything generated, reasoning included.
        cached_input_tokens: The part of `input_tokens` that was read from the provider's cache.
        cache_write_input_tokens: The part of `input_tokens` that was written to it.
        reasoning_tokens: The part of `output_tokens` that is reasoning.
        total_tokens: The provider's own sum.
        input_cost, output_cost, total_cost: US dollars: what the provider says it charged, else what the tokens cost
            where the model's prices are known. A total may hold more than the other two, such as searches.
        extra: Counts of one provider only, under its own names. Those that have prices of their own have the same name
            everywhere: `input_audio_tokens`, `cache_audio_read_tokens` (part of it), `output_audio_tokens`,
            `input_image_tokens`, `output_image_tokens`; each is part of `input_tokens` or `output_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    extra: dict[str, Any] = mapping_field()

    def merge(self, newer: Usage) -> Usage:
        """This usage with every count that `newer` reports put over it (streams report them more than once).

        Costs are of all that has been counted: those of `newer` take the place of the older ones together, also where
        they are not known any more, as when the answer turns out to be served by another tariff.
        """
        names = (name for name in COUNTS if getattr(newer, name) is not None or (name in COSTS and newer._used()))
        changes = {name: getattr(newer, name) for name in names}
        return attrs.evolve(self, **changes, extra={**self.extra, **newer.extra})

    def __add__(self, other: Usage) -> Usage:
        """The sum over two calls; a count that neither call reported stays None.

        A cost is None when it is not known of a call that used tokens: a total that leaves something out is wrong.
        """
        mine, theirs = self._used(), other._used()
        totals: dict[str, Any] = {}
        for name in COUNTS:
            one, two = getattr(self, name), getattr(other, name)
            if one is None or two is None:
                unknown = name in COSTS and ((one is None and mine) or (two is None and theirs))
                totals[name] = None if unknown else two if one is None else one
            else:
                totals[name] = one + two
        return Usage(**totals, extra=_sum(self.extra, other.extra))

    def _used(self) -> bool:
        """Whether anything was used that may have cost something."""
        return any(getattr(self, name) for name in COUNTS)

    def _in_short(self) -> str | None:
        """`12 in, 34 out`, in tokens; None where neither is known."""
        counts = (self.input_tokens, self.output_tokens)
        if counts == (None, None):
            return None
        return "{} in, {} out".format(*("?" if count is None else count for count in counts))


def _sum(first: Any, second: Any) -> Any:
    """Both counts: numbers are added, objects by field, lists of counts (Gemini's of each modality) by their words.

    Of anything else the second one holds.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        return {**first, **{key: _sum(first[key], value) if key in first else value for key, value in second.items()}}
    if isinstance(first, list) and isinstance(second, list) and all(map(_is_count, [*first, *second])):
        return list(functools.reduce(_counted, [*first, *second], dict[Any, Any]()).values())
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first + second
    return second


def _counted(sums: dict[Any, Any], count: dict[str, Any]) -> dict[Any, Any]:
    what = frozenset((key, value) for key, value in count.items() if isinstance(value, str))
    return {**sums, what: _sum(sums[what], count) if what in sums else count}


def _is_count(item: Any) -> bool:
    """Whether an item is one count of a list: what it counts in words, how many as a number."""
    return isinstance(item, dict) and any(isinstance(value, str) for value in item.values())


COUNTS = tuple(field.name for field in attrs.fields(Usage) if field.name != "extra")
COSTS = frozenset(name for name in COUNTS if name.endswith("_cost"))


def parse_answer(message: Message, hint: Any, shape: Shape | None = None) -> Any:
    """The text of `message` as an instance of a type; see `parse_text`.

    Some models write a sentence before the answer, in a block of its own: if the whole text is no JSON, the answer is
    the first block that is.
    """
    from allm.data.types.structure import is_json, parse_text  # most answers are text

    text = message.text
    blocks = [part.text for part in message.parts if isinstance(part, TextPart)]
    if len(blocks) > 1 and not is_json(text):
        text = next(filter(is_json, blocks), text)
    return parse_text(text, hint, shape)


class UnwrapError(AllmError):
    """`unwrap` was called with a response that did not end cleanly."""

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(UnwrapReason))
    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "finish_reason")

    def __init__(self, message: str, *, reason: UnwrapReason, finish_reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.finish_reason = finish_reason


@frozen
class _OutputType:
    """A response's output type on its way through pickle or copy.

    A pickle names classes, which fails for one that was defined in a function: that one is left out, since the answer
    is worth more than what `parsed()` needs. A copy keeps it.
    """

    cls: Any

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle

        try:
            pickle.dumps(self.cls)
        except (pickle.PicklingError, AttributeError, TypeError):
            return _OutputType, (None,)
        return _OutputType, (self.cls,)

    def __deepcopy__(self, _memo: Any) -> _OutputType:
        return self


@frozen(kw_only=True)
class Response(Generic[OutputT_co]):
    """One model answer, whole or as far as it came. `Response[Person]` is one whose `parsed()` gives a `Person`.

    Attributes:
        message: The assistant message, all parts in the order they arrived.
        finish_reason: Why it ended; None while (or when) it did not end.
        raw_finish_reason: The provider's own word for it.
        model: The model that answered, as the provider names it.
        id: The provider's id of the answer.
        request_id: The provider's id of the HTTP request.
        headers: Of the HTTP response, their names in lower case: rate limits, processing times, versions. Cookies and
            whatever may be a secret are left out. Of an answer that failed before it began, those of the error.
        service_tier: The tier that served the answer, in the provider's own word: `default`, `flex`, `standard`.
        logprobs: The tokens of the visible text in order, if log probabilities were asked for and came.
        metadata: What else the answer says about itself, by the provider's name: `metadata["openrouter"]["provider"]`.
        output_type: The type given as `response_format=`; not part of the value, and not in its JSON. A pickle keeps
            it where it can be imported.
        error: Set exactly when `finish_reason == "error"`; the partial answer is in `message`.
        abandoned_usage: What attempts have used that failed before their content and were made again; part of no other
            count of the response, and of the totals of a turn.
    """

    message: Message
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    model: str | None = None
    id: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = headers_field()
    service_tier: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    error: AllmError | None = None
    abandoned_usage: Usage | None = None
    metadata: dict[str, Any] = mapping_field()
    output_type: TypeForm[OutputT_co] | None = attrs.field(default=None, eq=False, repr=False)

    @overload
    def parsed(self) -> OutputT_co: ...
    @overload
    def parsed(self, cls: TypeForm[T]) -> T: ...
    def parsed(self, cls: Any = None) -> Any:
        """The answer's JSON as an instance of the type `cls`; without it, of that given as `response_format=`.

        Raises:
            ValidationError: `invalid_output`: not JSON or not a valid instance, with every problem; the text is still
                in `output_text`. After a failure, it is raised from that. Without any type: `missing_output_type`.
        """
        wanted = cls if cls is not None else self.output_type
        if wanted is None:
            sentence = (
                "parsed() needs a type: pass one, parsed(YourClass), or make the call with response_format=YourClass. "
                "A response that was read from JSON has none, nor has one from a pickle if it cannot be imported"
            )
            raise ValidationError([Problem((), "missing_output_type", sentence)], reason="invalid_output")
        try:
            return parse_answer(self.message, wanted)
        except ValidationError as error:
            if self.error is None:
                raise
            message = f"there is no whole answer, since the call failed: {self.error}\n{error.message}"
            raise ValidationError(error.problems, reason="invalid_output", message=message) from self.error

    if not TYPE_CHECKING:  # a type checker has to find attributes that are not there

        def __getattr__(self, name: str) -> NoReturn:
            from allm.data.names_elsewhere import no_attribute  # only for a mistake

            no_attribute(self, name)

    def __getstate__(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {**state, "output_type": _OutputType(self.output_type)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "output_type": state["output_type"].cls}.items():
            object.__setattr__(self, name, value)  # as attrs does it: the class is frozen

    def _repr_pretty_(self, printer: Printer, _cycle: bool) -> None:  # noqa: FBT001  (IPython's protocol)
        printer.text(
            one_line(
                "Response",
                self.output_text,
                {
                    "tool_calls": tuple(call.name for call in self.tool_calls),
                    "finish_reason": self.finish_reason,
                    "error": self.error.reason if self.error is not None else None,
                    "model": self.model,
                    "usage": self.usage._in_short(),
                },
            )
        )

    @property
    def output_text(self) -> str:
        """All visible text, joined without separator; a refusal's text counts."""
        return self.message.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the model asks for, in order."""
        return self.message.tool_calls

    @property
    def hosted_calls(self) -> tuple[HostedCall, ...]:
        """What tools of the provider did, such as web searches, each call once, in the order in which they began."""
        return self.message.hosted_calls

    @property
    def pending_hosted_calls(self) -> tuple[HostedCall, ...]:
        """Calls at the provider that wait for the caller; `allm.hosted.approve`, `deny`, `screenshot` answer them."""
        content = self.message.content
        parts = () if isinstance(content, str) else content
        return tuple(part for part in parts if isinstance(part, HostedCall) and part.status == "requires_action")

    @property
    def reasoning(self) -> tuple[ReasoningPart, ...]:
        """The thinking parts, in order."""
        return self.message.reasoning

    @property
    def reasoning_text(self) -> str:
        """All readable thinking, joined without separator."""
        return "".join(part.text for part in self.message.reasoning)

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The sources that the text names, in order; the place of each is in the text of its own part."""
        return self.message.citations

    @property
    def refusal(self) -> str | None:
        """What the model said when it declined (may be ""), or None when it did not decline."""
        refusals = [part.text for part in self.message.parts if isinstance(part, TextPart) and part.refusal]
        if refusals:
            return "".join(refusals)
        # Anthropic has no refusal part: its stop reason is the sign (Messages API, stop_reason "refusal").
        return self.output_text if self.raw_finish_reason == "refusal" else None
