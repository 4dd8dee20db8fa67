"""What an answer names as its sources, from every wire format: places in code points, once each, and sent back."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

import allm
import anthropic_wire
import gemini_wire
import openai_wire
from allm import fake
from allm.data.citation import Citation, SourcePlace
from allm.http.answer_size import AnswerSize, storable
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply, WireServer

CLAIM = "Zürich 🦉 hat Eulen."
"""With characters of one, two and four bytes; the last of these is two code units of UTF-16."""


def fold(events):
    """The response; every prefix of the events has citations whose places its text has."""
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
        for part in collector.response().message.parts:
            if isinstance(part, allm.TextPart):
                assert all(citation.within(len(part.text)) is citation for citation in part.citations)
    response = collector.response()
    assert allm.from_json(allm.to_json(response)) == response
    return response


def places(response):
    """The text and the URL or file of each citation."""
    return [
        (None if c.start is None else part.text[c.start : c.end], c.url or c.file_id)
        for part in response.message.parts
        if isinstance(part, allm.TextPart)
        for c in part.citations
    ]


# --- Chat Completions ---


def chat(*chunks, provider="openai"):
    """The response to these chunks."""
    decoder = ChatDecoder(provider)
    events = [event for chunk in chunks for event in decoder.decode("", json.dumps(chunk).encode())]
    return fold([*events, *decoder.decode("", b"[DONE]")])


def chunk(delta, **fields):
    """A chunk of a stream."""
    return {"id": "g", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **fields}


def whole(message, provider="openai", **fields):
    """The response to a plain JSON answer."""
    decoder = ChatDecoder(provider)
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return fold(decoder.decode_document({"id": "g", "model": "m", "choices": [choice], **fields}))


def note(start, end, url, **fields):
    """An annotation of Chat Completions."""
    return {"type": "url_citation", "url_citation": {"start_index": start, "end_index": end, "url": url, **fields}}


def test_annotations_of_chat_completions():
    """In pieces and whole: the same citations, with the place that the service counts in code points."""
    notes = [note(7, 8, "https://owl.example", title="Owls"), note(0, 6, "https://zh.example")]
    pieces = chat(chunk({"content": CLAIM[:9]}), chunk({"annotations": notes[:1]}), chunk({"content": CLAIM[9:]}),
                  chunk({"annotations": notes[1:]}))  # fmt: skip
    assert pieces.message == whole({"content": CLAIM, "annotations": notes}).message
    assert places(pieces) == [("🦉", "https://owl.example"), ("Zürich", "https://zh.example")]
    assert pieces.citations[0] == Citation(
        7, 8, title="Owls", url="https://owl.example", provider="openai", data=notes[0]
    )


def test_an_annotation_that_is_repeated_is_one():
    """By a gateway that sends all so far with every chunk."""
    notes = [note(0, 6, "https://zh.example"), note(7, 8, "https://owl.example")]
    response = chat(chunk({"content": CLAIM, "annotations": notes[:1]}), chunk({"annotations": notes}))
    assert places(response) == [("Zürich", "https://zh.example"), ("🦉", "https://owl.example")]


def test_an_annotation_waits_for_its_place():
    """One that comes before its text is given once the text is there, and keeps its turn."""
    notes = [note(7, 8, "https://owl.example"), note(0, 2, "https://z.example")]
    response = chat(chunk({"annotations": notes}), chunk({"content": CLAIM}))
    assert places(response) == [("🦉", "https://owl.example"), ("Zü", "https://z.example")]


@pytest.mark.parametrize("place", [(0, 0), (None, None), (5, 2), (3, 999), (-1, 4), ("x", True)])
def test_an_annotation_without_a_place(place):
    """0 to 0 means none (OpenRouter), and so does what no text can have."""
    notes = [note(*place, "https://a.example", content="A snippet.")]
    response = whole({"content": CLAIM, "annotations": notes}, "openrouter")
    [citation] = response.citations
    assert (citation.start, citation.end, citation.quote) == (None, None, "A snippet.")


def test_a_file_that_was_read_is_no_citation():
    """It is OpenRouter's note that it need not be read again."""
    file = {"type": "file", "file": {"hash": "h"}}
    response = whole({"content": "x", "annotations": [file, note(0, 1, "https://a.example")]}, "openrouter")
    assert places(response) == [("x", "https://a.example")]
    assert response.message.parts[0].metadata == {"openrouter": {"annotations": [file]}}


def test_marks_of_an_answer_that_lists_its_sources():
    """Perplexity: `[2]` stands for the second source; a source without a mark has no place, code has no marks."""
    listed = {
        "citations": ["https://a.example", "https://b.example", "https://c.example"],
        "search_results": [
            {"url": "https://b.example", "title": "B", "snippet": "Of B.", "date": "2026-01-01"},
            {"url": "https://a.example", "title": "A"},
        ],
    }
    text = f"{CLAIM}[2][1] Mehr[2]: `x[1]`\n```\ny[3]\n```\n[9]"
    streamed = chat(
        chunk({"content": text[:30]}, **listed), chunk({"content": text[30:]}, **listed), provider="perplexity"
    )
    assert streamed.message == whole({"content": text}, "perplexity", **listed).message
    assert places(streamed) == [
        ("[2]", "https://b.example"),
        ("[1]", "https://a.example"),
        ("[2]", "https://b.example"),
        (None, "https://c.example"),
    ]
    first = streamed.citations[0]
    assert (first.title, first.quote, first.data) == ("B", "Of B.", {"date": "2026-01-01"})
    assert streamed.metadata["perplexity"]["citations"] == listed["citations"]


def test_annotations_win_over_a_list_of_the_same_sources():
    """A gateway that has both says each source once."""
    response = whole(
        {"content": "x[1]", "annotations": [note(0, 1, "https://a.example")]}, citations=["https://a.example"]
    )
    assert places(response) == [("x", "https://a.example")]


def test_a_cancelled_answer_keeps_the_sources_that_it_had():
    """Those of its list, and those whose place did not come."""
    decoder = ChatDecoder("perplexity")
    events = decoder.decode("", json.dumps(chunk({"content": "Hi [1]"}, citations=["https://a.example"])).encode())
    assert places(fold([*events, *decoder.cut()])) == [("[1]", "https://a.example")]


# --- Responses ---

URL = {"type": "url_citation", "start_index": 7, "end_index": 8, "title": "T", "url": "https://owl.example"}
FILE = {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": len(CLAIM)}
MADE = {"type": "container_file_citation", "container_id": "c", "file_id": "cf-1", "start_index": 0, "end_index": 0}
PATH = {"type": "file_path", "file_id": "file-2", "index": 3}


def responses(*events):
    """The response to these events."""
    decoder = ResponsesDecoder()
    return fold(
        [event for kind, data in events for event in decoder.decode(kind, json.dumps({"type": kind, **data}).encode())]
    )


@pytest.mark.parametrize("announced", [[], [URL], [URL, FILE, MADE, PATH]])
def test_annotations_of_responses(announced):
    """Announced in the stream, with the finished item, or both: once each, in the order of the item."""
    notes = [URL, FILE, MADE, PATH]
    part = {"type": "output_text", "text": CLAIM, "annotations": notes}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    end = {"id": "r", "model": "m", "status": "completed", "output": [item]}
    response = responses(
        ("response.created", {"response": {"id": "r", "model": "m"}}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("response.output_text.delta", {**place, "delta": CLAIM[:8]}),
        *[("response.output_text.annotation.added", {**place, "annotation": found}) for found in announced],
        ("response.output_text.delta", {**place, "delta": CLAIM[8:]}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": end}),
    )
    assert places(response) == [("🦉", "https://owl.example"), ("", "file-1"), (None, "cf-1"), ("", "file-2")]
    assert [citation.data for citation in response.citations] == notes
    assert response.citations[1].title == "a.pdf"
    decoder = ResponsesDecoder()
    assert fold(decoder.decode_document(end)).message == response.message
    _, sent = openai_wire.responses(allm.user("Hi"), response.message)["input"]
    assert sent["content"][0]["annotations"] == notes


def test_announced_annotations_of_an_item_that_is_never_done():
    """A server that ends without its items says them all the same."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    response = responses(
        ("response.output_text.delta", {**place, "delta": "Zü"}),
        ("response.output_text.annotation.added", {**place, "annotation": URL}),
        ("response.completed", {"response": {"status": "completed", "output": []}}),
    )
    assert places(response) == [(None, "https://owl.example")]


# --- Anthropic ---


def test_citations_of_a_block():
    """They come before their text, and their place is the whole of it; those of the source are as they count."""
    where = {
        "char": {"type": "char_location", "cited_text": "Eulen", "document_index": 1, "document_title": "a.txt",
                 "start_char_index": 3, "end_char_index": 8, "file_id": None},
        "page": {"type": "page_location", "cited_text": "Eulen", "document_index": 0, "document_title": None,
                 "start_page_number": 1, "end_page_number": 2},
        "own": {"type": "search_result_location", "cited_text": "Eulen", "source": "https://e.example", "title": "T",
                "search_result_index": 2, "start_block_index": 0, "end_block_index": 1},
        "web": {"type": "web_search_result_location", "cited_text": "Eulen", "url": "https://w.example", "title": "W",
                "encrypted_index": "Eo8B"},
    }  # fmt: skip
    found = list(where.values())
    cited = [{"type": "citations_delta", "citation": data} for data in found]
    response = anthropic_wire.answer(
        anthropic_wire.started(),
        anthropic_wire.text(0, "Also: "),
        anthropic_wire.block(1, {"type": "text", "text": ""}, *cited, {"type": "text_delta", "text": CLAIM}),
        anthropic_wire.stopped(),
    )
    assert response.message.parts[0].citations == ()
    assert [citation.source for citation in response.citations] == [
        SourcePlace("characters", 3, 8, index=1),
        SourcePlace("pages", 1, 2, index=0),
        SourcePlace("blocks", 0, 1, index=2),
        None,
    ]
    assert {(c.start, c.end, c.quote) for c in response.citations} == {(0, len(CLAIM), "Eulen")}
    assert [citation.url for citation in response.citations] == [None, None, "https://e.example", "https://w.example"]
    assert [citation.data for citation in response.citations] == found


def test_citations_go_back_as_they_came_and_only_there():
    """To their vendor, on the assistant's turns, with all that it sent; to others the text alone."""
    data = {"type": "web_search_result_location", "cited_text": "x", "url": "u", "title": "t", "encrypted_index": "E"}
    part = allm.TextPart("So.", citations=[Citation(0, 3, provider="anthropic", data=data)])
    messages = [allm.user("Hi"), allm.assistant(part), allm.user(part)]
    models = {
        allm.providers.Anthropic(api_key="k"): "claude-sonnet-4-6",
        allm.providers.OpenAI(api_key="k"): "gpt-5",
        allm.providers.Gemini(api_key="k"): "gemini-2.5-flash",
    }
    anthropic, openai, gemini = (
        json.loads(adapter.prepare(allm.Request(messages, model=model), allm.adapters.AdapterOptions()).body)
        for adapter, model in models.items()
    )
    assert [turn["content"][0].get("citations") for turn in anthropic["messages"]] == [None, [data], None]
    assert "encrypted_index" not in json.dumps([openai, gemini])


# --- Gemini ---

TEXTS = ("Ä 🦉. ", CLAIM)


def grounded(segments, texts=TEXTS, **more):
    """The response to texts with this grounding: a thought between them keeps them apart."""
    chunks = [{"web": {"uri": f"https://{n}.example", "title": str(n), "domain": "d"}} for n in range(2)]
    supports = [{"segment": segment, "groundingChunkIndices": [number % 2]} for number, segment in enumerate(segments)]
    metadata = {"groundingChunks": chunks, "groundingSupports": supports, **more}
    parts = [part for text in texts for part in (gemini_wire.text(text), gemini_wire.thought("hm"))]
    wire = gemini_wire.sse(
        *[gemini_wire.chunk(part) for part in parts],
        gemini_wire.chunk(finish="STOP", candidate={"groundingMetadata": metadata}),
    )
    return fold(gemini_wire.decode(wire))


def segment(start, end, text=None, **more):
    """A segment in bytes of the joined text."""
    found = {"startIndex": start, "endIndex": end, "text": text, **more}
    return {key: value for key, value in found.items() if value not in (None, 0)}


def size(text):
    """Bytes in UTF-8."""
    return len(text.encode())


def test_grounding_counts_bytes_of_the_joined_text():
    """Each place is in code points of its own part; a source keeps what it says beyond the fields."""
    begin = size(TEXTS[0])
    response = grounded(
        [
            segment(0, size("Ä 🦉."), "Ä 🦉."),
            segment(begin + size("Zürich "), begin + size("Zürich 🦉"), "🦉"),
            segment(begin, begin + size("Zü")),
        ]
    )
    assert places(response) == [
        ("Ä 🦉.", "https://0.example"),
        ("🦉", "https://1.example"),
        ("Zü", "https://0.example"),
    ]
    assert response.citations[0].data == {"web": {"domain": "d"}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (segment(4, 5, "hat Eulen"), "hat Eulen"),  # the wrong place
        (segment(1, 3, "Eulen"), "Eulen"),  # inside a character
        (segment(1, 3), None),
        (segment(2, 9999), None),
        (segment(2, 9999, "Eulen"), "Eulen"),
        (segment(0, 3, "nowhere in it"), None),
        (segment(0, size("Zürich"), "Zürich", partIndex=1), "Zürich"),
        (segment(0, size("Zürich"), partIndex=1), "Zürich"),
        ({}, None),
    ],
)
def test_a_segment_that_is_not_where_it_says(found, expected):
    """Its text is looked for; without one, or where it is not there, there is no place."""
    [(text, url)] = places(grounded([found]))
    assert (text, url) == (expected, "https://0.example")


def test_sources_without_supports():
    """They have no place, but they are there."""
    assert places(grounded([])) == [(None, "https://0.example"), (None, "https://1.example")]


def test_retrieved_text_and_recitation():
    """File search quotes its source; what repeats the public has its address."""
    chunks = [{"retrievedContext": {"title": "a.txt", "text": "Owls are birds.", "fileSearchStore": "s"}}]
    cited = {"citationSources": [{"startIndex": 0, "endIndex": 2, "uri": "https://r.example", "license": "mit"}]}
    supports = [{"segment": {"endIndex": 1, "text": "x"}, "groundingChunkIndices": [0, 7, None]}]
    wire = gemini_wire.sse(
        gemini_wire.chunk(gemini_wire.text("xÄ")),
        gemini_wire.chunk(
            finish="STOP",
            candidate={
                "groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports},
                "citationMetadata": cited,
            },
        ),
    )
    first, second = fold(gemini_wire.decode(wire)).citations
    assert first == Citation(
        0, 1, quote="Owls are birds.", title="a.txt", provider="gemini",
        data={"retrievedContext": {"fileSearchStore": "s"}},
    )  # fmt: skip
    assert second == Citation(url="https://r.example", provider="gemini", data={"license": "mit"})


# --- any wire format ---

WIRES = {
    "openai": lambda url: allm.providers.OpenAI(base_url=url, api_key="k", endpoint="chat_completions"),
    "openai_responses": lambda url: allm.providers.OpenAI(base_url=url, api_key="k", endpoint="responses"),
    "anthropic": lambda url: allm.providers.Anthropic(base_url=url, api_key="k"),
    "gemini": lambda url: allm.providers.Gemini(base_url=url, api_key="k"),
}
SCRIPT = [
    fake.text(CLAIM),
    fake.citation(7, 8, url="https://owl.example", title="Eulen"),
    fake.text(" Und mehr 🦉."),
    fake.citation(20, 31, url="https://more.example", title="Mehr"),
]
PLACES = [("🦉", "https://owl.example"), ("Und mehr 🦉.", "https://more.example")]


def test_a_fake_has_citations():
    """With their places, as the script has them."""

    async def main():
        return await allm.generate(allm.Engine(adapter=allm.providers.Fake(script=SCRIPT)), "Hi")

    assert places(trio.run(main)) == PLACES


@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize("wire", WIRES)
async def test_however_a_stream_is_split(wire, size):
    """Byte by byte, in pieces that split characters, and in one piece: the same citations."""
    reply = Reply.script(wire, SCRIPT)
    async with WireServer() as server:
        server.add(attrs.evolve(reply, chunks=size) if size else reply)
        engine = allm.Engine(adapter=WIRES[wire](server.url(wire)), model="m")
        async with allm.stream_generate(engine, "Hi") as stream:
            events = [event async for event in stream]
    expected = [(CLAIM + " Und mehr 🦉.", url) for _, url in PLACES] if wire == "anthropic" else PLACES
    assert places(fold(events)) == expected


@pytest.mark.parametrize("wire", WIRES)
def test_a_citation_belongs_to_a_text(wire):
    """A script that cites without one cannot be played."""
    with pytest.raises(ValueError, match="belongs to the text before it"):
        Reply.script(wire, [fake.citation(url="https://a.example")])


def test_citations_count_as_content():
    """An answer of nothing but sources has an end as well."""
    limits = allm.AnswerLimits(total_bytes=10_000)
    size = AnswerSize(limits)
    cited = allm.CitationAdded("t", Citation(quote="x" * 100, url="u", data={"a": "b" * 100}))
    events = [event for _ in range(100) for event in size.admit((cited,))]
    assert isinstance(events[-1], allm.Failed) or size.is_full
    assert 40 < len([event for event in events if isinstance(event, allm.CitationAdded)]) < 50


def test_data_that_no_conversation_can_keep():
    """It has to go back, so that the answer ends."""
    deep = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(allm.AdapterError) as caught:
        storable(allm.CitationAdded("t", Citation(data=deep)))
    assert caught.value.reason == "answer_too_large"


def test_a_list_of_citations_is_a_tuple():
    """So that a part is a value."""
    part = allm.TextPart("x", citations=[Citation(0, 1)])
    assert part.citations == (Citation(0, 1),)
    assert hash(part) == hash(allm.TextPart("x", citations=(Citation(0, 1),)))


def test_halves_of_a_character_are_one():
    """Of a server that works in UTF-16 and splits an emoji over two events."""
    halves = [b'{"choices":[{"delta":{"content":"\\ud83e"}}]}', b'{"choices":[{"delta":{"content":"\\udd89[1]"}}]}']
    decoder = ChatDecoder("perplexity")
    chunks = [json.dumps(chunk({}, citations=["https://a.example"])).encode(), *halves, b"[DONE]"]
    response = fold([event for data in chunks for event in decoder.decode("", data)])
    assert (response.output_text, places(response)) == ("🦉[1]", [("[1]", "https://a.example")])


@pytest.mark.parametrize(
    ("written", "place"),
    [("Owls.", (0, 4)), ('{"answer": "Owls."}', (None, None)), ('Owls. {"tool": "look", "arguments": {}}', None)],
)
async def test_tools_that_are_prompted_keep_the_citations(written, place):
    """Of the text that is left: with its place if that is all the model wrote, else without one."""
    script = [fake.text(written), fake.citation(0, 4, url="https://o.example")]
    tool = allm.Tool("look", "Looks.", {"type": "object"})
    engine = allm.Engine(adapter=allm.providers.Fake(script=script), model="m")
    response = await allm.generate(engine, "Hi", tools=[tool], tool_mode="prompted")
    found = [(citation.start, citation.end) for citation in response.citations]
    assert (response.output_text.strip(), found) == ("Owls.", found if place is None else [place])
    assert len(response.message.parts) == 1 + len(response.tool_calls)
    assert all(citation.within(len(response.message.parts[0].text)) is citation for citation in response.citations)
