"""Answer from your own texts, with footnotes: find, rerank, and let the model cite what it was given.

The texts are embedded once and searched by their vectors; a reranker puts the best first; the model gets them as
results with a source, and cites them where its provider can (Anthropic), else names them.

With ALLM_MODEL set, embeddings and ranking are Voyage's: they need VOYAGE_API_KEY.
"""

from __future__ import annotations

from collections.abc import Sequence

import demo
import trio

import allm
from allm import fake

HANDBOOK = {
    "Owls": "Owls hunt at night. Their feathers make no sound.",
    "Foxes": "Foxes hunt in the morning and in the evening.",
    "Cows": "Cows do not hunt. They eat grass.",
    "Refunds": "Refunds are paid within ten days.",
}


def cite(asked: demo.Asked) -> list[object]:
    """The demo model quotes the first text that it was given."""
    source, _, rest = asked.text.partition('source="')[2].partition('"')
    said = rest.partition(">")[2].strip().partition(".")[0] + "."
    return [fake.text(said), fake.citation(0, len(said), url=source, title=source.rpartition("/")[2])]


async def main() -> None:
    """Find the answer to a question."""
    question = "When do owls hunt at night?"
    services = {"embedding_model": "voyage:voyage-3.5", "rerank_model": "voyage:rerank-2.5"}
    async with demo.engine(cite, **services) as engine:
        titles, texts = list(HANDBOOK), list(HANDBOOK.values())
        vectors = (await allm.embed(engine, texts, task_type="document")).vectors
        [asked] = (await allm.embed(engine, [question], task_type="query")).vectors
        nearest = sorted(range(len(texts)), key=lambda index: -dot(vectors[index], asked))[:3]
        best = await allm.rerank(engine, question, [texts[index] for index in nearest], top_n=2)
        found = [nearest[result.index] for result in best.results]
        pages = [
            allm.DocumentPart(
                allm.Document.from_text(texts[index]),
                title=titles[index],
                source=f"https://handbook.example/{titles[index].lower()}",
                citations=True,
            )
            for index in found
        ]
        response = await allm.generate(engine, allm.user(question, *pages))
        allm.unwrap(response)
        print(allm.render.markdown(response))


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """How near two vectors are."""
    return sum(one * other for one, other in zip(left, right, strict=True))


if __name__ == "__main__":
    trio.run(main)
