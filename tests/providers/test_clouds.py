"""Gemini and Claude on Vertex AI, Azure with Entra ID: addresses, bodies, and tokens that are fetched in threads."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest
import trio

import allm
from allm import fake
from allm.adapters import AdapterOptions
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Reply, WireServer, loopback_clock

TOKEN = "token-canary-0123456789"
HOSTS = {
    "global": "aiplatform.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
    "us-east5": "us-east5-aiplatform.googleapis.com",
}


@pytest.fixture
def clock():
    return loopback_clock()


class Credential:
    """Stands for one of azure-identity; remembers in which threads it was asked."""

    def __init__(self, *tokens):
        self.tokens, self.threads, self.scopes = list(tokens), [], []

    def get_token(self, scope):
        self.threads.append(threading.get_ident())
        self.scopes.append(scope)
        return SimpleNamespace(token=self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0])


@pytest.mark.parametrize("location", HOSTS)
@pytest.mark.parametrize("adapter", [Gemini, Anthropic])
def test_vertex_has_an_address_for_each_location(adapter, location, monkeypatch):
    """Project, location, publisher and model are in the URL; a key of the vendor's own API is not looked at."""
    for name in ("GEMINI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "of-the-vendor")
    call = adapter(project="p-1", location=location, api_key=TOKEN).prepare(
        allm.request("Hi", model="model@1"), AdapterOptions()
    )
    publisher, method = (
        ("google", "streamGenerateContent?alt=sse") if adapter is Gemini else ("anthropic", "streamRawPredict")
    )
    path = f"projects/p-1/locations/{location}/publishers/{publisher}/models/model@1:{method}"
    assert call.url == f"https://{HOSTS[location]}/v1/{path}"
    with pytest.raises(allm.EngineError) as caught:
        adapter(project="p-1", location=location).prepare(allm.request("Hi", model="m"), AdapterOptions())
    assert caught.value.reason == "missing_key"
    assert "variable" not in caught.value.message  # there is none to set


@pytest.mark.parametrize(
    ("project", "location"), [("evil/..", "global"), ("p", "evil.org/x"), ("p", "evil.org"), ("", "us")]
)
def test_project_and_location_cannot_lead_elsewhere(project, location):
    """They become parts of the host and the path that the token is sent to."""
    adapter = Gemini(project=project, location=location, api_key=TOKEN)
    with pytest.raises(allm.EngineError) as caught:
        adapter.prepare(allm.request("Hi", model="m"), AdapterOptions())
    assert caught.value.reason == "invalid_base_url"


@pytest.mark.parametrize("model", ["a/b", "..", "a\nb"])
def test_a_model_stays_in_its_place(model):
    """A name with a slash would be another resource."""
    with pytest.raises(allm.ValidationError):
        Anthropic(project="p", api_key=TOKEN).prepare(allm.request("Hi", model=model), AdapterOptions())


async def test_claude_on_vertex_has_its_version_in_the_body(clock):
    """No model and no version header; the answer is Anthropic's own stream."""
    async with WireServer(default=Reply.script("anthropic", [fake.text("Hello")])) as server:
        adapter = Anthropic(
            project="p", api_key=allm.keys.entra(Credential(TOKEN)), base_url=server.base_url, betas="b-1"
        )
        response = await allm.generate(allm.Engine(adapter=adapter, model="claude-haiku-4-5@20251001"), "Hi")
        [request] = server.requests
    body = json.loads(request.body)
    assert (body["anthropic_version"], "model" in body) == ("vertex-2023-10-16", False)
    assert body["max_tokens"] == 64_000
    assert "anthropic-version" not in request.headers
    assert request.headers["anthropic-beta"] == "b-1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-api-key" not in request.headers
    assert response.output_text == "Hello"


async def test_a_token_is_sent_as_one_fetched_in_a_thread_and_again_after_a_401(clock):
    """Azure takes its own keys in another header; the token is never shown, and is renewed once for all."""
    credential = Credential("old-" + TOKEN, "new-" + TOKEN)

    def answer(request):
        if "old-" in request.headers["authorization"]:
            return Reply.error("openai", 401, message=f"expired: old-{TOKEN}")
        return Reply.script("openai", [fake.text("Hello")])

    async with WireServer(default=answer) as server:
        adapter = OpenAI(preset="azure", base_url=server.url("openai"), api_key=allm.keys.entra(credential, scope="s"))
        engine = allm.Engine(adapter=adapter, model="m", retry=None)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(allm.generate, engine, "Hi")
        requests = server.requests
    assert len(credential.threads) == 2
    assert threading.get_ident() not in credential.threads
    assert credential.scopes == ["s", "s"]
    assert requests[-1].headers["authorization"] == f"Bearer new-{TOKEN}"
    assert all("api-key" not in request.headers for request in requests)
    assert TOKEN not in repr(adapter)


async def test_a_credential_that_fails_is_an_error_of_the_call(clock):
    """What the library of the cloud raises is told, and nothing is sent."""

    class Broken:
        def get_token(self, _scope):
            raise RuntimeError("no login")

    async with WireServer() as server:
        adapter = OpenAI(preset="azure", base_url=server.base_url, api_key=allm.keys.entra(Broken()))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "Hi")
        assert server.requests == []
    assert response.error.reason == "authentication_failed"
    assert "no login" in response.error.message


async def test_a_call_that_is_cancelled_does_not_wait_for_its_token(clock):
    """The thread is left behind, and the next call gets a token."""
    asked, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    class Slow(Credential):
        def get_token(self, scope):
            if not self.threads:
                super().get_token(scope)
                token.run_sync_soon(asked.set)
                go_on.wait()
            return super().get_token(scope)

    async with WireServer(default=Reply.script("openai", [fake.text("Hello")])) as server:
        adapter = OpenAI(preset="azure", base_url=server.url("openai"), api_key=allm.keys.entra(Slow(TOKEN)))
        engine = allm.Engine(adapter=adapter, model="m", retry=None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(allm.generate, engine, "Hi")
            await asked.wait()
            nursery.cancel_scope.cancel()
        response = await allm.generate(engine, "Hi")
        go_on.set()
    assert response.output_text == "Hello"


async def test_google_tokens_come_from_google_auth(clock):
    """The credentials are refreshed for a token; without the library the error names the extra."""
    pytest.importorskip("google.auth.transport.requests")

    class Credentials:
        token = None

        def refresh(self, _request):
            self.token = TOKEN

    async with WireServer(default=Reply.script("gemini", [fake.text("Hello")])) as server:
        adapter = Gemini(project="p", api_key=allm.keys.google(Credentials()), base_url=server.base_url)
        response = await allm.generate(allm.Engine(adapter=adapter, model="gemini-3.5-flash"), "Hi")
        [request] = server.requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-goog-api-key" not in request.headers
    assert response.output_text == "Hello"


@pytest.mark.parametrize(("make", "extra"), [(allm.keys.google, "vertex"), (allm.keys.entra, "azure")])
def test_a_missing_library_names_the_extra(make, extra, monkeypatch):
    """It is said when the adapter is made, long before a call."""

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError, match=rf"allm-trio\[{extra}\]"):
        make()
