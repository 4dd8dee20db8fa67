"""The vendors' own types as judges of the request bodies that the adapters build.

They come with the vendors' SDKs (dependency group `validators`, `nox -s validators`); a test that asks for one is
skipped where it is not installed.
"""

from __future__ import annotations

import copy
import warnings

import pytest

REASON = "the vendors' types are not installed: nox -s validators"


def vendor(module):
    """A module of a vendor's SDK, whatever it warns about while it loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module, reason=REASON)


def check_gemini(body):
    """Raise if Google would refuse `body`: a field it does not know at any depth, a wrong type, an unknown enum value.

    The protobuf descriptors are read by the rule that the service itself applies to JSON. They are older than a few
    fields, which the SDK's types know; those judge the whole body as well.
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
    message = descriptors.GenerateContentRequest.pb()()
    json_format.ParseDict(known, message, ignore_unknown_fields=False)
