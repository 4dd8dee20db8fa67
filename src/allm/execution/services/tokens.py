"""`count_tokens`: how long a prompt is, before it is sent."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.execution.options import CallOptions, Input, ModelCall, engine_for_chat, prepare_call, resolve
from allm.execution.services.companions import beside
from allm.execution.services.service import Service
from allm.runtime.engine import Engine
from allm.runtime.http_adapter import as_adapter
from allm.runtime.option_table import seal

__all__ = ["count", "count_tokens"]

_TOKENS: Service[Request, TokenCount] = Service(
    name="token_counter", noun="token counts", span="count_tokens", request_type=Request
)


async def count_tokens(engine: Engine, messages: Input, **options: Unpack[CallOptions[Any]]) -> TokenCount:
    """Count the tokens of a prompt, with everything that the call would send: instructions, tools, schemas, files.

        counted = await allm.count_tokens(engine, thread, tools=[weather])

    Anthropic, Gemini (both on Vertex AI too), Bedrock and OpenAI's Responses API count it themselves, without charge.
    For all others it is an estimate, and `exact` is False. Nothing of it is kept.

    Args:
        engine: The engine that would make the call.
        messages: A text, a message, messages, a `Thread` or a `Request`.
        options: Those of the call: see `CallOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid, and could not be made either.
    """
    seal(options)
    call = resolve(engine_for_chat(engine), messages, options)
    if call.loads_tools:
        from allm.execution.tool_sets import with_loaded_tools

        call = await with_loaded_tools(call)
    return await count(call)


async def count(call: ModelCall) -> TokenCount:
    """Count the tokens of the prompt of a call whose tools have been loaded.

    Raises:
        EngineError, ValidationError, AdapterError: As `count_tokens`.
    """
    if call.engine.is_group:  # each model counts its own tokens, and the first is the one that is asked
        from allm.execution.group.members import first_call

        call = first_call(call)
    chat = as_adapter(call.adapter)
    counter: Any = chat.companion("token_counter")
    if counter is None:
        from allm.runtime.token_counting import Estimate

        counter = Estimate(chat.provider)
    prepared = prepare_call(call, counter)
    unary = beside(_TOKENS, call, counter)
    with unary.running(model=call.request.model) as span:
        counted: TokenCount = await unary.attempt(partial(counter.send, prepared), span, prepared=prepared)
        span.attributes.update(tokens=counted.tokens, exact=counted.exact)
    if counted.exact and call.adapter_options.cached_content is None:
        from allm.runtime.prompt_size import remember_count

        remember_count(chat.provider, call.request, counted.tokens)
    return counted
