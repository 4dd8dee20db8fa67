"""`classify`: questions with closed choices about an input, in one model call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, Unpack, overload

import attrs

from allm.data.answer_form import AnswerForm
from allm.data.classification import Classification, Question, question_of
from allm.data.errors import AdapterError, ValidationError
from allm.data.message import system
from allm.data.problems import Problem, refuse, wrong_type
from allm.data.request import Request, to_messages
from allm.data.response import Response
from allm.execution.failures import is_inner, log_failure
from allm.execution.generate import generate, unwrap
from allm.execution.options import CallOptions, Input, engine_for_chat
from allm.runtime.engine import Engine
from allm.runtime.fitting import advise
from allm.runtime.http_adapter import as_adapter
from allm.runtime.option_table import invalid_option, seal

__all__ = ["Classification", "Question", "classify"]

AnswerT = TypeVar("AnswerT")

_FEW = 5
"""How many of the likeliest tokens are asked for where it is not known how many the provider gives."""
_OWN = ("response_format", "tools", "tool_choice", "structured_finalize")


@overload
async def classify(
    engine: Engine,
    request: Input,
    questions: Mapping[str, Question[AnswerT] | Iterable[AnswerT] | type[AnswerT]],
    *,
    probabilities: bool | None = ...,
    **options: Unpack[CallOptions],
) -> Classification[AnswerT]: ...
@overload
async def classify(
    engine: Engine,
    request: Input,
    questions: Mapping[str, Any],
    *,
    probabilities: bool | None = ...,
    **options: Unpack[CallOptions],
) -> Classification[Any]: ...
async def classify(
    engine: Engine,
    request: Input,
    questions: Mapping[str, Any],
    *,
    probabilities: bool | None = None,
    **options: Unpack[CallOptions],
) -> Classification[Any]:
    """Answer questions with closed choices about an input, all of them in one call.

        result = await allm.classify(engine, mail, {"urgent": ["yes", "no"], "mood": range(1, 6)})
        result["urgent"]                  # "no"
        result.probabilities["urgent"]    # {"yes": 0.02, "no": 0.98}, or None

    Tools of the engine are not offered.

    Args:
        engine: The engine.
        request: What the questions are about: anything that `generate` takes.
        questions: By their names: the choices, or a `Question`, which also says what is asked and what choices mean.
        probabilities: Whether to ask for log probabilities: None where the provider is known to have them, and once
            more without them if it refuses the call; True in any case, so that a refusal is an error; False never.
        options: See `CallOptions`.

    Raises:
        AllmError, UnwrapError: The call failed, or did not end cleanly, as for `unwrap`.
        ValidationError: `invalid_question`; nothing was sent. `invalid_output`: the answer is none of the choices.
        EngineError, OptionError: The call is invalid; nothing was sent.
    """
    seal(options)
    form = AnswerForm(_checked(questions))
    for name in _OWN:
        if name in options:
            raise invalid_option(name, "not_taken", "is made from the questions; leave it out")
    engine = engine_for_chat(engine)
    if engine.tools:
        engine = attrs.evolve(engine, tools=())
    given = request if isinstance(request, Request) else Request(to_messages(request))
    asked = attrs.evolve(
        given,
        messages=(system(form.instructions), *given.messages),
        tools=(),
        tool_choice=None,
        response_format=None,
        structured_finalize=False,
    )
    settings: Any = {**options, "response_format": form.output_type}
    response = await _ask(engine, asked, settings, probabilities=probabilities)
    unwrap(response)
    answers = form.answers(response.parsed())
    return Classification(answers=answers, probabilities=form.probabilities(response), response=response)


def _checked(questions: Any) -> dict[str, Question[Any]]:
    if not isinstance(questions, Mapping):
        refuse(
            [wrong_type(("questions",), questions, "a mapping such as {'urgent': ['yes', 'no']}")],
            reason="invalid_question",
        )
    problems = [
        Problem(("questions",), "invalid_name", f"has the name {name!r:.60}; expected a text that is not empty")
        for name in questions
        if not (isinstance(name, str) and name)
    ]
    if not questions:
        problems.append(Problem(("questions",), "empty", "there is no question"))
    refuse(problems, reason="invalid_question")
    return {name: question_of(name, given) for name, given in questions.items()}


async def _ask(engine: Engine, request: Request, options: Any, *, probabilities: bool | None) -> Response[Any]:
    """The answer, with log probabilities if they are wanted and the provider gives them."""
    if probabilities is False or options.get("logprobs") is not None or request.logprobs is not None:
        return await generate(engine, request, **options)
    most = as_adapter(engine.adapter).most_logprobs
    if probabilities:
        return await generate(engine, attrs.evolve(request, logprobs=most or _FEW), **options)
    if not most:
        return await generate(engine, request, **options)
    first = await _ask_if_it_may(engine, attrs.evolve(request, logprobs=most), options)
    # Which models of Gemini give them changes from month to month, and an unknown server may know no such field.
    refused = first is not None and isinstance(first.error, AdapterError) and first.error.reason == "invalid_request"
    if first is not None and not refused:
        if first.error is not None:
            log_failure("generate", first.error)
        return first
    response = await generate(engine, request, **options)
    if refused and response.error is None:
        provider = as_adapter(engine.adapter).provider
        what = "%s refused a call that asks for log probabilities, and takes it without; pass probabilities=False"
        advise(provider, request.model or engine.model or "", "logprobs", what, provider)
    return response


async def _ask_if_it_may(engine: Engine, request: Request, options: Any) -> Response[Any] | None:
    """The answer to a request for log probabilities; None where it is known beforehand that there are none.

    Its failure is logged by who makes the call again, or does not.
    """
    outer = is_inner.set(True)
    try:
        return await generate(engine, request, **options)
    except ValidationError as error:
        if {path for path, _ in error.errors} == {("logprobs",)}:
            return None
        raise
    finally:
        is_inner.reset(outer)
