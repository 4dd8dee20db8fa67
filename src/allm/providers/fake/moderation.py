"""Moderation without a provider, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

from allm.adapters import AdapterOptions
from allm.data.moderation import ModerationRequest, ModerationResponse, ModerationResult
from allm.data.script import Trouble
from allm.providers.fake.scripted_failures import Troubles

__all__ = ["FakeModeration"]


@final
class FakeModeration:
    """Flags the words it is given.

        adapter = FakeModeration({"violence": ["fight"]})
        response = await allm.moderate(allm.Engine(moderation_adapter=adapter), "a fight")

    Args:
        words: For each category the words that break it, wherever they stand in a text, in capitals or not.
        script: As in `FakeEmbeddings`.

    Attributes:
        requests: What was asked, in order.
    """

    provider = "fake"
    requires_model = False

    def __init__(
        self, words: Mapping[str, Iterable[str]] | None = None, *, script: Iterable[Sequence[Trouble]] = ()
    ) -> None:
        given = words if words is not None else {"violence": ["kill"]}
        self.requests: list[ModerationRequest] = []
        self._words = {category: tuple(word.lower() for word in every) for category, every in given.items()}
        self._troubles = Troubles(script)

    def prepare(self, request: ModerationRequest, _options: AdapterOptions) -> ModerationRequest:
        """Record the request.

        Raises:
            AllmError: The script has it next.
        """
        self.requests.append(request)
        self._troubles.check()
        return request

    async def send(self, prepared: ModerationRequest) -> ModerationResponse:
        """Play the script for this request, then answer.

        Raises:
            AllmError: The script has it.
        """
        await self._troubles.play()
        texts = [item for item in prepared.inputs if isinstance(item, str)]
        judged = ["\n".join(texts)] if prepared.has_images else texts
        types = ("image", "text") if texts else ("image",)
        results = [self._result(text, types if prepared.has_images else ("text",)) for text in judged]
        return ModerationResponse(results=results, model=prepared.model or "fake", id="fake")

    def _result(self, text: str, types: tuple[str, ...]) -> ModerationResult:
        lower = text.lower()
        categories = {category: any(word in lower for word in words) for category, words in self._words.items()}
        return ModerationResult(
            flagged=any(categories.values()),
            categories=categories,
            scores={category: float(broken) for category, broken in categories.items()},
            applied_input_types=dict.fromkeys(categories, types),
        )
