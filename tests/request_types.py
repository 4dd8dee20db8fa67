"""Validation of the adapters' request bodies by the vendors' own types.

The types come with the vendors' SDKs (dependency group `validators`, `nox -s validators`); a test that needs one is
skipped where it is not installed.
"""

from __future__ import annotations

import copy
import functools
import warnings

import pytest

REASON = "the vendors' types are not installed: nox -s validators"


def vendor(module):
    """Import a module of a vendor's SDK; its warnings at import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module, reason=REASON)


def check_gemini(body):
    """Raise if Google would refuse `body`: a field it does not know at any depth, a wrong type, an unknown enum value.

    The protobuf descriptors apply the service's own rules for JSON, but lack a few newer fields. The SDK's types know
    those, and validate the whole body as well.
    """
    json_format = vendor("google.protobuf.json_format")
    descriptors = vendor("google.ai.generativelanguage_v1beta.types")
    types = vendor("google.genai.types")

    for content in body["contents"]:
        types.Content.model_validate(content)
    if "systemInstruction" in body:
        types.Content.model_validate(body["systemInstruction"])
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    if "toolConfig" in body:
        types.ToolConfig.model_validate(body["toolConfig"])
    if "generationConfig" in body:
        types.GenerationConfig.model_validate(body["generationConfig"])

    known = copy.deepcopy(body)
    known.get("generationConfig", {}).get("thinkingConfig", {}).pop("thinkingLevel", None)
    for content in known["contents"]:
        for part in content["parts"]:
            for name in ("executableCode", "codeExecutionResult"):
                part.get(name, {}).pop("id", None)
            for name in ("toolCall", "toolResponse"):
                part.pop(name, None)
    message = descriptors.GenerateContentRequest.pb()()
    json_format.ParseDict(known, message, ignore_unknown_fields=False)


def force(value):
    """Walk a validated value: pydantic checks the `Iterable` fields of the SDK's types only when they are read."""
    if isinstance(value, dict):
        return {key: force(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bytes, int, float, bool)):
        return value
    return [force(item) for item in value] if hasattr(value, "__iter__") else value


def check_openai_chat(body):
    """Raise if `body` is invalid for POST /chat/completions: an unknown key or a wrong type at any depth."""
    force(openai_types("chat.completion", "CompletionCreateParamsStreaming").validate_python(body, extra="forbid"))


def check_openai_responses(body):
    """Raise if `body` is invalid for POST /responses: an unknown key or a wrong type at any depth."""
    force(openai_types("responses.response", "ResponseCreateParamsStreaming").validate_python(body, extra="forbid"))


def check_openai_embeddings(body):
    """Raise if `body` is invalid for POST /embeddings."""
    force(openai_types("embedding", "EmbeddingCreateParams").validate_python(body, extra="forbid"))


def check_openai_moderation(body):
    """Raise if `body` is invalid for POST /moderations."""
    force(openai_types("moderation", "ModerationCreateParams").validate_python(body, extra="forbid"))


def check_gemini_embeddings(body):
    """Raise if Google would refuse `body` for `batchEmbedContents`."""
    json_format = vendor("google.protobuf.json_format")
    descriptors = vendor("google.ai.generativelanguage_v1beta.types")
    message = descriptors.BatchEmbedContentsRequest.pb()()
    json_format.ParseDict(body, message, ignore_unknown_fields=False)


@functools.cache
def openai_types(module, name):
    """The validator of a request; cached, because making one is slow."""
    return vendor("pydantic").TypeAdapter(getattr(vendor(f"openai.types.{module}_create_params"), name))


# The SDK version for each API version, whose types know what that version takes. Only one of them can be installed.
ANTHROPIC_SDKS = {"2023-06-01": "0.", "2026-10-21": "2."}


def check_anthropic(body, version):
    """Raise if `body` does not fit Anthropic's types for this API version, at any depth."""
    installed = vendor("anthropic").__version__
    if not installed.startswith(ANTHROPIC_SDKS[version]):
        pytest.skip(f"anthropic {installed} does not speak {version}: nox -s validators")
    force(anthropic_types().validate_python(body, extra="forbid"))


@functools.cache
def anthropic_types():
    """The validator of a streaming request."""
    params = vendor("anthropic.types.message_create_params")
    return vendor("pydantic").TypeAdapter(params.MessageCreateParamsStreaming)


def check_anthropic_count(body):
    """Raise if `body` is invalid for POST /messages/count_tokens."""
    params = vendor("anthropic.types.message_count_tokens_params")
    adapter = vendor("pydantic").TypeAdapter(params.MessageCountTokensParams)
    force(adapter.validate_python(body, extra="forbid"))


def check_openai_count(body):
    """Raise if `body` is invalid for POST /responses/input_tokens."""
    params = vendor("openai.types.responses.input_token_count_params")
    adapter = vendor("pydantic").TypeAdapter(params.InputTokenCountParams)
    force(adapter.validate_python(body, extra="forbid"))


def check_gemini_count(body):
    """Raise if Google would refuse `body` for `countTokens`."""
    json_format = vendor("google.protobuf.json_format")
    descriptors = vendor("google.ai.generativelanguage_v1beta.types")
    json_format.ParseDict(body, descriptors.CountTokensRequest.pb()(), ignore_unknown_fields=False)


@functools.cache
def bedrock_shapes():
    """The service model of AWS's own SDK, which comes with botocore."""
    loaders, model = vendor("botocore.loaders"), vendor("botocore.model")
    description = loaders.Loader().load_service_model("bedrock-runtime", "service-2")
    return model.ServiceModel(description)


def check_bedrock(body, operation="ConverseStream"):
    """Raise if AWS's own SDK would refuse `body`: an unknown key, a wrong type or length at any depth."""
    validate = vendor("botocore.validate")
    shape = bedrock_shapes().operation_model(operation).input_shape
    report = validate.ParamValidator().validate({**body, "modelId": "m"}, shape)
    assert not report.has_errors(), report.generate_report()
