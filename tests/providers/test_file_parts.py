"""Documents, audio and videos in prompts and results: what each vendor is sent, and what it would refuse."""

from __future__ import annotations

import json

import attrs
import pytest

import allm
from allm import fake
from allm.http import call
from allm.testing import Reply, WireServer
from request_types import check_anthropic, check_gemini, check_openai_chat, check_openai_responses

PDF = allm.Document.from_bytes(b"%PDF-1.4 hello")
TEXT = allm.Document.from_text("Zwölf\nOwls")
DOCX = allm.Document.from_bytes(
    b"PK\3\4 word", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
)
WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
OGG = allm.Audio.from_bytes(b"OggS....")
MP4 = allm.Video.from_bytes(b"\0\0\0\x18ftypmp42....")
PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
AT_URL = allm.Document.from_url("https://example.com/a.pdf")
B64 = {media: media.to_base64() for media in (PDF, DOCX, WAV, MP4)}


def uploaded(provider, **fields):
    return allm.FileRef(provider=provider, id="file-1", **fields)


SERVICES = {
    "anthropic": (lambda: allm.providers.Anthropic(api_key="k"), "claude-sonnet-4-6"),
    "gemini": (lambda: allm.providers.Gemini(api_key="k"), "gemini-3-pro-preview"),
    "chat": (lambda: allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-audio"),
    "responses": (lambda: allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-5.4"),
    "mistral": (lambda: allm.providers.OpenAI(preset="mistral", api_key="k"), "mistral-large-latest"),
    "openrouter": (lambda: allm.providers.OpenAI(preset="openrouter", api_key="k"), "google/gemini-3-pro"),
    "azure": (
        lambda: allm.providers.OpenAI(preset="azure", api_key="k", resource="r", endpoint="chat_completions"),
        "gpt-4o",
    ),
    "deepseek": (lambda: allm.providers.OpenAI(preset="deepseek", api_key="k"), "deepseek-chat"),
}
CHECKS = {
    "anthropic": lambda body: check_anthropic(body, "2023-06-01"),
    "gemini": check_gemini,
    "chat": check_openai_chat,
    "responses": check_openai_responses,
}


def body_of(service, *content, role="user"):
    """The body of a request with this message."""
    make, model = SERVICES[service]
    message = allm.Message(role, allm.user("?", *content).content)
    request = allm.request([allm.user("Hi"), message] if role == "assistant" else [message], model=model)
    body = make().prepare(request, allm.adapters.AdapterOptions()).body
    return json.loads(body if isinstance(body, bytes) else b"".join(body.open()))


def sent(service, *content):
    """What comes after the text `?` in the body."""
    body = body_of(service, *content)
    if service == "gemini":
        return body["contents"][0]["parts"][1:]
    if service == "responses":
        return body["input"][0]["content"][1:]
    return body["messages"][0]["content"][1:]


def file(name, data, mime_type="application/pdf"):
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{mime_type};base64,{data}"}}


def document(kind, **source):
    return {"type": "document", "source": {"type": kind, **source}}


AS_TEXT = "<document>\nZwölf\nOwls\n</document>"
FORMS = [
    (
        "anthropic",
        PDF,
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": B64[PDF]}},
    ),
    (
        "anthropic",
        TEXT,
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Zwölf\nOwls"}},
    ),
    ("anthropic", AT_URL, {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
    ("gemini", PDF, {"inlineData": {"mimeType": "application/pdf", "data": B64[PDF]}}),
    ("gemini", TEXT, {"text": AS_TEXT}),
    ("gemini", AT_URL, {"fileData": {"fileUri": "https://example.com/a.pdf", "mimeType": "application/pdf"}}),
    ("gemini", WAV, {"inlineData": {"mimeType": "audio/wav", "data": B64[WAV]}}),
    ("gemini", MP4, {"inlineData": {"mimeType": "video/mp4", "data": B64[MP4]}}),
    (
        "gemini",
        allm.Video.from_url("https://www.youtube.com/watch?v=x"),
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x", "mimeType": "video/mp4"}},
    ),
    ("chat", PDF, file("document.pdf", B64[PDF])),
    ("chat", TEXT, {"type": "text", "text": AS_TEXT}),
    ("chat", WAV, {"type": "input_audio", "input_audio": {"data": B64[WAV], "format": "wav"}}),
    (
        "responses",
        PDF,
        {"type": "input_file", "filename": "document.pdf", "file_data": f"data:application/pdf;base64,{B64[PDF]}"},
    ),
    (
        "responses",
        TEXT,
        {"type": "input_file", "filename": "document.txt", "file_data": f"data:text/plain;base64,{TEXT.to_base64()}"},
    ),
    (
        "responses",
        DOCX,
        {"type": "input_file", "filename": "document.docx", "file_data": f"data:{DOCX.mime_type};base64,{B64[DOCX]}"},
    ),
    ("responses", AT_URL, {"type": "input_file", "file_url": "https://example.com/a.pdf"}),
    ("mistral", PDF, {"type": "document_url", "document_url": f"data:application/pdf;base64,{B64[PDF]}"}),
    ("mistral", AT_URL, {"type": "document_url", "document_url": "https://example.com/a.pdf"}),
    ("openrouter", AT_URL, {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.com/a.pdf"}}),
    ("openrouter", MP4, {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{B64[MP4]}"}}),
    ("openrouter", OGG, {"type": "input_audio", "input_audio": {"data": OGG.to_base64(), "format": "ogg"}}),
    ("deepseek", TEXT, {"type": "text", "text": AS_TEXT}),
]


@pytest.mark.parametrize(("service", "media", "expected"), FORMS)
def test_each_vendor_has_its_own_form(service, media, expected):
    """Text, where the vendor has no form for a document that is one."""
    assert sent(service, media) == [expected]


@pytest.mark.parametrize(("service", "media"), [(name, media) for name, media, _ in FORMS if name in CHECKS])
def test_the_vendors_types_accept_it(service, media):
    """At any depth."""
    CHECKS[service](body_of(service, media))


UPLOADS = [
    ("anthropic", PDF, {"type": "document", "source": {"type": "file", "file_id": "file-1"}}),
    ("anthropic", PNG, {"type": "image", "source": {"type": "file", "file_id": "file-1"}}),
    ("gemini", MP4, {"fileData": {"fileUri": "https://files/1", "mimeType": "video/mp4"}}),
    ("chat", PDF, {"type": "file", "file": {"file_id": "file-1"}}),
    ("responses", PDF, {"type": "input_file", "file_id": "file-1"}),
    ("responses", PNG, {"type": "input_image", "file_id": "file-1", "detail": "auto"}),
]


@pytest.mark.parametrize(("service", "media", "expected"), UPLOADS)
def test_a_file_that_the_provider_keeps_is_referred_to(service, media, expected):
    """By its id, or its URI."""
    provider = "openai" if service in {"chat", "responses"} else service
    ref = uploaded(provider, uri="https://files/1" if service == "gemini" else None, mime_type=media.mime_type)
    assert sent(service, type(media).from_upload(ref)) == [expected]


REFUSED = [
    ("anthropic", DOCX, "unsupported_document_format"),
    ("anthropic", WAV, "unsupported_part"),
    ("anthropic", MP4, "unsupported_part"),
    ("anthropic", allm.Document.from_url("https://e/x.txt", "text/plain"), "unsupported_document_format"),
    ("anthropic", allm.Document.from_url("gs://e/x.pdf"), "unsupported_document_url"),
    ("anthropic", allm.Document.from_bytes(b"\xff\xfe", "text/plain"), "not_text"),
    ("anthropic", allm.Document.from_bytes(bytes(24 * 1024 * 1024 + 9), "application/pdf"), "document_too_large"),
    ("gemini", DOCX, "unsupported_document_format"),
    ("gemini", allm.Audio.from_bytes(b"MThd", "audio/midi"), "unsupported_audio_format"),
    ("gemini", allm.Document.from_url("file:///x.pdf"), "unsupported_document_url"),
    ("chat", DOCX, "unsupported_document_format"),
    ("chat", AT_URL, "unsupported_document_url"),
    ("chat", OGG, "unsupported_audio_format"),
    ("chat", allm.Audio.from_url("https://e/x.wav"), "unsupported_audio_url"),
    ("chat", MP4, "unsupported_part"),
    ("chat", allm.Image.from_upload(uploaded("openai")), "unsupported_image_upload"),
    ("chat", allm.Document.from_bytes(bytes(50 * 1024 * 1024 + 9), "application/pdf"), "document_too_large"),
    ("responses", WAV, "unsupported_part"),
    ("responses", MP4, "unsupported_part"),
    ("responses", allm.Document.from_bytes(b"\0\1"), "missing_mime_type"),
    ("azure", PDF, "unsupported_part"),
    ("deepseek", PDF, "unsupported_part"),
    ("deepseek", WAV, "unsupported_part"),
    ("openrouter", allm.Video.from_upload(uploaded("openrouter")), "unsupported_part"),
    *[(name, allm.Document.from_upload(uploaded("elsewhere")), "foreign_upload") for name in CHECKS],
    ("gemini", allm.Document.from_upload(uploaded("gemini", expires_at=1.0)), "expired_upload"),
    ("anthropic", allm.Document.from_upload(uploaded("anthropic", endpoint="proxy.example")), "foreign_upload"),
]


@pytest.mark.parametrize(("service", "media", "tag"), REFUSED)
def test_what_a_vendor_would_refuse_is_an_error_before_anything_is_sent(service, media, tag):
    """At the part, with what to do."""
    with pytest.raises(allm.ValidationError) as caught:
        body_of(service, media)
    assert caught.value.errors == ((("messages", 0, "content", 1), tag),)


@pytest.mark.parametrize("service", CHECKS)
def test_an_assistants_own_file_is_left_out(service):
    """Where the vendor takes none in an answer, as with images."""
    body = json.dumps(body_of(service, PDF, role="assistant"))
    assert service == "gemini" or B64[PDF] not in body


def test_title_context_and_citations():
    """In fields where the vendor has some, else in a line of text before the document."""
    part = allm.DocumentPart(PDF, title="Owls", context="From 1911.", citations=True)
    [block] = sent("anthropic", part)
    assert {key: block[key] for key in ("title", "context", "citations")} == {
        "title": "Owls",
        "context": "From 1911.",
        "citations": {"enabled": True},
    }
    note = "Title of the next file: Owls\nContext of the next file: From 1911."
    assert sent("gemini", part)[0] == {"text": note}
    before, document = sent("responses", part)
    assert before == {"type": "input_text", "text": "Context of the next file: From 1911."}
    assert document["filename"] == "Owls.pdf"
    text = attrs.evolve(part, document=TEXT, title='"Owls"')
    assert sent("chat", text)[0]["text"].startswith('<document title="&quot;Owls&quot;" context="From 1911.">\n')


def test_all_documents_are_cited_or_none():
    """Anthropic takes no mixture."""
    with pytest.raises(allm.ValidationError) as caught:
        body_of("anthropic", allm.DocumentPart(PDF, citations=True), PDF)
    assert caught.value.errors == ((("messages", 0, "content", 2), "mixed_citations"),)


def found(**fields):
    """A text that a search found."""
    return allm.DocumentPart(TEXT, title="Owls", source="https://owl.example/1", citations=True, **fields)


def test_what_a_search_found_is_a_search_result_for_anthropic():
    """In a prompt and in a result; what is no text keeps being a document, and says where it is from."""
    block = {
        "type": "search_result",
        "source": "https://owl.example/1",
        "title": "Owls",
        "content": [{"type": "text", "text": "Zwölf\nOwls"}],
        "citations": {"enabled": True},
    }
    call = allm.ToolCall("c1", "look", {})
    pdf = allm.DocumentPart(PDF, source="kb/7", context="Old.", citations=True)
    messages = [allm.user("Hi", found(), pdf), allm.assistant(call), allm.tool_result("c1", [found()])]
    adapter = allm.providers.Anthropic(api_key="k")
    request = allm.Request(messages, model="claude-sonnet-4-6")
    first, _, last = json.loads(adapter.prepare(request, allm.adapters.AdapterOptions()).body)["messages"]
    assert first["content"][1] == block
    assert (first["content"][2]["type"], first["content"][2]["context"]) == ("document", "Source: kb/7\nOld.")
    assert last["content"][0]["content"] == [block]


@pytest.mark.parametrize("wire", ["chat", "responses", "gemini"])
def test_what_a_search_found_is_text_elsewhere(wire):
    """With its title and its source."""
    sent = json.dumps(body_of(wire, found()))
    assert "https://owl.example/1" in sent
    assert "Owls" in sent


def adapter_at(server, name):
    if name.startswith("openai"):
        endpoint = "responses" if name == "openai_responses" else "chat_completions"
        return allm.providers.OpenAI(api_key="k", base_url=server.url(name), endpoint=endpoint)
    vendor = allm.providers.Anthropic if name == "anthropic" else allm.providers.Gemini
    return vendor(api_key="k", base_url=server.url(name))


RESULT = ["read", PDF, TEXT]
RESULTS = {
    "anthropic": [
        {"type": "text", "text": "read"},
        document("base64", media_type="application/pdf", data=B64[PDF]),
        document("text", media_type="text/plain", data="Zwölf\nOwls"),
    ],
    "gemini": [
        {"inlineData": {"mimeType": "application/pdf", "data": B64[PDF]}},
        {"inlineData": {"mimeType": "text/plain", "data": allm.Document.from_text(AS_TEXT).to_base64()}},
    ],
    "openai": [
        {"type": "text", "text": "Files of the result of look (c1):"},
        file("document.pdf", B64[PDF]),
        {"type": "text", "text": AS_TEXT},
    ],
    "openai_responses": [
        {"type": "input_text", "text": "read"},
        {"type": "input_file", "filename": "document.pdf", "file_data": f"data:application/pdf;base64,{B64[PDF]}"},
        {"type": "input_text", "text": AS_TEXT},
    ],
}


@pytest.mark.parametrize("name", RESULTS)
async def test_documents_in_the_result_of_a_tool(name):
    """In the result where the vendor takes them there, else right behind the results."""
    async with WireServer() as server:
        calls = Reply.script(name, [fake.tool_call("look", {}, id="c1")])
        server.add(calls, Reply.script(name, [fake.text("Done.")]))
        adapter = adapter_at(server, name)
        look = allm.Tool("look", "Looks.", handler=lambda _arguments: RESULT)
        result = await allm.chat(allm.Engine(adapter=adapter, model="gemini-3-x", tools=[look]), "Look.")
    assert result.final_response.output_text == "Done."
    sent = json.loads(server.requests[1].body)
    found = {
        "anthropic": lambda: sent["messages"][-1]["content"][0]["content"],
        "gemini": lambda: sent["contents"][-1]["parts"][0]["functionResponse"]["parts"],
        "openai": lambda: sent["messages"][-1]["content"],
        "openai_responses": lambda: sent["input"][-1]["output"],
    }[name]()
    assert found == RESULTS[name]


REFUSED = {
    "anthropic": [WAV, MP4, DOCX],
    "gemini": [DOCX],
    "openai_responses": [WAV, MP4],
}


@pytest.mark.parametrize("name", REFUSED)
async def test_files_in_a_result_that_the_model_does_not_take(name):
    """Are a text for it that says why: the tool may be anybody's, and no turn after this one could be answered."""
    async with WireServer() as server:
        calls = Reply.script(name, [fake.tool_call("look", {}, id="c1")])
        server.add(calls, Reply.script(name, [fake.text("Done.")]), Reply.script(name, [fake.text("Again.")]))
        engine = allm.Engine(adapter=adapter_at(server, name), model="gemini-3-x", tools=[])
        look = allm.Tool("look", "Looks.", handler=lambda _arguments: ["See:", *REFUSED[name], PDF])
        result = await allm.chat(engine, "Look.", tools=[look])
        assert result.output_text == "Done."
        again = await allm.generate(engine, result.thread.add(allm.user("Again?")))
    assert again.output_text == "Again."
    said = server.requests[1].body.decode()
    for media in REFUSED[name]:
        assert f"[{media.phrase} that cannot be shown: " in said
    assert B64[PDF] in said
    kept = [part for message in result.thread.messages for part in message.parts if message.role == "tool"]
    assert [getattr(part, media.word) for part, media in zip(kept[1:], REFUSED[name], strict=False)] == REFUSED[name]


async def test_files_in_a_result_that_is_told_as_text():
    """Are replaced too, where the model has its tools from its instructions."""
    async with WireServer() as server:
        call = '{"tool": "look", "arguments": {}}'
        server.add(*[Reply.script("anthropic", [fake.text(text)]) for text in (call, '{"answer": "Done."}')])
        engine = allm.Engine(adapter=adapter_at(server, "anthropic"), model="claude-x")
        look = allm.Tool("look", "Looks.", handler=lambda _arguments: WAV)
        result = await allm.chat(engine, "Look.", tools=[look], tool_mode="prompted")
    assert result.error is None
    assert "[audio that cannot be shown: " in server.requests[1].body.decode()


async def test_a_file_of_the_user_that_the_model_does_not_take():
    """Is refused, also where one of a result is refused too."""
    async with WireServer() as server:
        call = allm.assistant(allm.ToolCall("c1", "look", {}))
        thread = [allm.user("Look"), call, allm.tool_result("c1", WAV), allm.user("And this", WAV)]
        with pytest.raises(allm.ValidationError) as caught:
            await allm.generate(allm.Engine(adapter=adapter_at(server, "anthropic"), model="claude-x"), thread)
    assert [path for path, _ in caught.value.errors] == [("messages", 2, "content", 0), ("messages", 3, "content", 1)]


@pytest.mark.parametrize("name", ["anthropic", "gemini", "openai", "openai_responses"])
async def test_a_large_file_is_read_while_it_is_sent(tmp_path, name, monkeypatch):
    """Never as a whole, and again for each attempt."""
    place = tmp_path / "large.pdf"
    place.write_bytes(b"%PDF-1.4" + bytes(range(256)) * 2048)
    monkeypatch.setattr(allm.Document, "to_bytes", lambda _self: pytest.fail("the file was read as a whole"))
    async with WireServer() as server:
        server.add(Reply.error(name, 503, headers={"retry-after": "0"}), Reply.script(name, [fake.text("Read.")]))
        adapter = adapter_at(server, name)
        question = allm.user("Read this", allm.Document.from_file(place))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), question)
    assert response.output_text == "Read."
    monkeypatch.undo()
    whole = allm.Document.from_file(place).to_base64()
    assert [whole in request.body.decode() for request in server.requests] == [True, True]


async def test_a_file_that_changes_while_it_is_sent(tmp_path, monkeypatch):
    """The error says so; nothing of a half-sent body counts."""
    place = tmp_path / "large.pdf"
    place.write_bytes(b"%PDF-1.4" + bytes(600_000))
    question = allm.user("Read this", allm.Document.from_file(place))
    async with WireServer() as server:
        server.add(Reply.script("anthropic", [fake.text("Read.")]))
        adapter = adapter_at(server, "anthropic")
        original = call.streamed

        def shrinking(body):
            made = original(body)
            place.write_bytes(b"%PDF-1.4")
            return made

        monkeypatch.setattr(call, "streamed", shrinking)
        response = await allm.generate(allm.Engine(adapter=adapter, model="claude-x"), question)
    assert response.finish_reason == "error"
    assert "changed its size" in response.error.message
