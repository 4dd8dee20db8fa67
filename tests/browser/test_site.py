"""The documentation in a browser: what fits, what can be copied, what is found.

`nox -s docs` builds it and names the folder in ALLM_SITE; without it, these tests are skipped.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from test_exports import PUBLIC_MODULES

SITE = Path(os.environ.get("ALLM_SITE", "/nowhere"))
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_" not in path.parts[0][:1])
WRITTEN = [page for page in PAGES if page != "search.html"]
pytestmark = pytest.mark.skipif(not PAGES, reason="needs the built pages: nox -s docs")

TOO_WIDE = """() => [...document.querySelectorAll('article pre')]
    .filter(block => block.scrollWidth > block.clientWidth + 1).map(block => block.textContent.slice(0, 200))"""
PUSHED_OUT = """() => [...document.querySelectorAll('article *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .filter(one => !one.closest('.table-wrapper, pre, .sr-only'))
    .map(one => one.outerHTML.slice(0, 200)).slice(0, 3)"""


SPLIT_NAMES = """() => [...document.querySelectorAll('article table code .pre')]
    .filter(name => name.getClientRects().length > 1 && /^[\\w.]+$/.test(name.textContent))
    .map(name => name.textContent)"""
IN_SIGHT = """() => {
    const {top, bottom} = document.querySelector('.sidebar-tree .current-page').getBoundingClientRect();
    return 0 <= top && bottom <= innerHeight;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the folder without a word."""

    def log_message(self, *_args):
        """Nothing."""


@pytest.fixture(scope="module")
def site():
    """The address of the pages, whose search needs a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def wide(chromium, site):
    """A page of 1280 x 800."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def narrow(chromium, site):
    """A page as wide as a phone."""
    with chromium.new_context(viewport={"width": 400, "height": 800}) as context:
        yield context.new_page()


@pytest.mark.parametrize("name", WRITTEN)
def test_code_fits_on_a_screen(wide, site, name):
    """No line of code has to be pushed aside at 1280 pixels, and no name in a table goes on below."""
    wide.goto(f"{site}/{name}", wait_until="domcontentloaded")
    assert wide.evaluate(TOO_WIDE) == []
    assert wide.evaluate(SPLIT_NAMES) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_fits_on_a_phone(narrow, site, name):
    """Nothing is wider than 400 pixels but tables, which are pushed aside by themselves."""
    narrow.goto(f"{site}/{name}", wait_until="domcontentloaded")
    assert narrow.evaluate(PUSHED_OUT) == []
    assert narrow.evaluate(TOO_WIDE) == []
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("name", ["tutorial.html", "guarantees.html", "reference/calls.html", "migrate/openai.html"])
def test_the_list_of_pages_shows_where_you_are(wide, site, name):
    """The page that is read is in sight in it, however far down."""
    wide.goto(f"{site}/{name}", wait_until="load")
    assert wide.evaluate(IN_SIGHT)


BROKEN = """() => [...document.images].filter(image => !image.complete || !image.naturalWidth || !image.alt)
    .map(image => image.outerHTML)"""


@pytest.mark.parametrize("name", [name for name in WRITTEN if "<img" in (SITE / name).read_text("utf-8")])
def test_pictures_are_there(new_page, site, name):
    """Each loads, says what it shows to who cannot see it, and nothing of the page is missing on the server."""
    page = new_page()
    page.goto(f"{site}/{name}", wait_until="load")
    assert page.evaluate(BROKEN) == []


def test_code_can_be_copied(new_page, site):
    """One press of a button."""
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{site}/index.html")
    block = page.locator("div.highlight-sh").first
    block.hover()
    block.locator("button.copybtn").click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text === 'pip install .')")


# What newcomers type, and the pages that answer it.
ASKED = {
    "agents": "tools",
    "ai sdk": "web",
    "anthropic": "anthropic",
    "api key": "keys",
    "approval": "tools sessions toolsets",
    "asyncio": "environments",
    "azure": "openai compatible keys",
    "batch": "bulk",
    "bedrock": "bedrock",
    "bulk": "bulk",
    "cache answers": "wrapping",
    "cancel": "cancellation",
    "cassette": "testing",
    "chat history": "sessions conversations tutorial",
    "chatbot": "web-chat cli-chat tutorial",
    "citations": "citations",
    "claude": "anthropic",
    "concurrency": "limits",
    "connection error": "troubleshooting errors",
    "context window": "conversations tokens models",
    "cost": "models budgets telemetry",
    "ctrl-c": "cancellation",
    "database": "sessions",
    "deadline": "cancellation",
    "deepseek": "compatible",
    "deploy": "deployment",
    "django": "environments",
    "docker": "deployment",
    "embedding": "embeddings",
    "empty answer": "troubleshooting",
    "enum": "types classify structured",
    "environment variable": "keys",
    "error handling": "errors",
    "exceptions": "errors",
    "fallback": "fallback",
    "fastapi": "web environments web-chat",
    "few-shot": "recipes tutorial conversations",
    "finish reason": "troubleshooting answers",
    "flask": "environments web",
    "function calling": "tools",
    "gemini": "gemini",
    "getting started": "tutorial",
    "groq": "compatible",
    "guardrail": "wrapping bedrock",
    "history": "sessions conversations",
    "human in the loop": "tools toolsets sessions",
    "images": "pictures images",
    "install": "install",
    "json output": "structured",
    "json schema": "structured types",
    "jupyter": "environments",
    "langchain": "migrate/langchain",
    "litellm": "migrate/litellm",
    "llama.cpp": "local compatible",
    "lm studio": "compatible",
    "local model": "local",
    "logging": "logging",
    "logprobs": "answers classify",
    "max tokens": "limits troubleshooting reference/calls answers",
    "mcp": "mcp",
    "memory": "sessions conversations deployment",
    "mock": "testing",
    "moderation": "moderation",
    "multi tenant": "keys deployment",
    "multimodal": "pictures documents",
    "notebook": "environments",
    "ollama": "compatible local",
    "openai": "openai",
    "openai compatible": "compatible",
    "openrouter": "compatible",
    "opentelemetry": "telemetry",
    "pdf": "documents",
    "postgres": "sessions deployment",
    "prompt caching": "caching",
    "prompt template": "migrate/langchain recipes tutorial",
    "proxy": "network",
    "pydantic": "structured types migrate/pydantic-ai",
    "pytest": "testing",
    "rag": "recipes examples embeddings rerank citations",
    "rate limit": "rate-limits",
    "reasoning effort": "reasoning",
    "redis": "sessions deployment",
    "reranker": "rerank",
    "retry": "limits",
    "seed": "reference/calls openai answers",
    "self-hosted": "compatible local",
    "server-sent events": "web",
    "session": "sessions",
    "speech": "audio",
    "ssl": "network",
    "stop sequence": "reference/calls",
    "stop streaming": "cancellation",
    "stream to browser": "web",
    "streaming": "tutorial index web",
    "structured output": "structured",
    "subagent": "recipes examples tools",
    "system prompt": "tutorial",
    "temperature": "models reference/calls tutorial",
    "text to speech": "audio",
    "thinking": "reasoning",
    "timeout": "cancellation limits",
    "token count": "tokens",
    "tool calls": "tools",
    "transcription": "audio",
    "tts": "audio",
    "typed output": "structured types",
    "unit test": "testing",
    "upload file": "files-api documents",
    "vector": "embeddings",
    "vertex": "gemini anthropic keys",
    "video": "documents",
    "vision": "pictures",
    "vllm": "compatible",
    "voice": "audio",
    "web search": "hosted-tools",
    "websocket": "web",
    "whisper": "audio",
}

# Words that no list has: the page is found by how often it has them, also if another word is nowhere.
ASKED |= {
    "async generator": "adapters why-trio cancellation",
    "azure deployment": "openai",
    "cancel request": "cancellation",
    "cheaper model": "models fallback",
    "cli": "cli",
    "code interpreter": "hosted-tools",
    "command line": "cli cli-settings",
    "corporate proxy": "network",
    "cost per request": "models budgets telemetry bulk",
    "file search": "hosted-tools files-api",
    "how to set system prompt": "tutorial",
    "human approval": "tools sessions toolsets web-chat",
    "json mode": "structured",
    "max_tokens": "limits troubleshooting answers reference/calls",
    "max_turns": "tools limits steps",
    "multi agent": "tools recipes",
    "ollama base url": "compatible local",
    "partial json": "structured",
    "pdf input": "documents",
    "self signed certificate": "network",
    "sqlite": "sessions bulk deployment",
    "streaming tokens": "tutorial index",
    "trio vs asyncio": "why-trio environments",
}

# Whole questions and pasted errors, with words that the pages may not have, and mistakes in typing.
ASKED |= {
    "401 unauthorized": "troubleshooting keys errors",
    "429 too many requests": "limits rate-limits errors troubleshooting",
    "abort request when client disconnects": "web cancellation environments web-chat",
    "ask a question from the shell": "cli-generate cli",
    "ask permission before running tool": "toolsets mcp sessions",
    "async client": "environments migrate/openai index",
    "AsyncOpenAI equivalent": "migrate/openai openai environments",
    "autocomplete bash zsh": "cli",
    "aws profile region": "bedrock",
    "azure ad token authentication": "keys openai",
    "azure deployment name": "openai",
    "base64 image": "pictures",
    "batch api discount": "bulk",
    "blank response": "troubleshooting",
    "catch exceptions": "errors",
    "change provider without rewriting code": "keys recipes compatible index",
    "chat completions create": "migrate/openai openai",
    "chat memory": "conversations sessions tutorial index",
    "cheaper model first": "recipes fallback",
    "claude on bedrock": "bedrock anthropic",
    "code interpreter": "hosted-tools",
    "cohere rerank": "rerank",
    "colour output markdown terminal": "cli-chat",
    "content filter blocked": "troubleshooting moderation answers errors",
    "context window exceeded": "tokens conversations errors",
    "corporate proxy": "network install",
    "ctrl-c": "cancellation why-trio",
    "custom headers": "network",
    "dall-e image generation": "images",
    "datadog opentelemetry": "telemetry",
    "debug print raw request": "logging",
    "deepseek r1": "reasoning compatible",
    "disable retries": "limits",
    "dotenv": "keys",
    "duplicate requests avoid": "recipes caching sessions wrapping",
    "edit a photo with a mask": "images",
    "enum output": "types structured classify",
    "exponential backoff": "limits",
    "extended thinking budget": "reasoning anthropic",
    "failover to other model": "fallback",
    "finish reason length": "troubleshooting answers",
    "flask streaming response": "web environments",
    "force the model to use a tool": "tools troubleshooting",
    "forget old messages": "conversations",
    "function calling": "tools",
    "give the bot a name or persona": "tutorial recipes",
    "hello world example": "tutorial index examples",
    "hide secrets in logs": "logging recipes errors",
    "how many tokens in my prompt": "tokens",
    "how much did it cost": "models recipes budgets",
    "how to install": "install",
    "http2": "network",
    "human in the loop confirmation": "toolsets sessions mcp",
    "invalid x-api-key": "troubleshooting keys errors",
    "json mode": "structured",
    "jupyter event loop already running": "environments",
    "keep going after page refresh": "web-chat",
    "kubernetes graceful shutdown": "deployment",
    "langsmith tracing": "telemetry trace",
    "let user cancel": "cancellation web-chat",
    "list available models": "tokens models keys",
    "llama.cpp gguf": "local",
    "lm studio": "compatible",
    "load balancing between providers": "fallback",
    "logging verbose mode": "logging",
    "logprobs": "answers classify",
    "make answers shorter": "reference/calls tutorial recipes",
    "max iterations agent loop": "tools toolsets steps",
    "max_tokens too small cut off answer": "troubleshooting answers reference/calls",
    "memory leak large stream": "limits guarantees",
    "mock openai in pytest": "testing",
    "model ignores my function": "troubleshooting",
    "model makes things up": "citations troubleshooting hosted-tools",
    "monthly spending limit": "budgets",
    "multi agent handoff": "recipes tools steps toolsets",
    "nested dataclass schema": "types structured",
    "offline no internet": "local network",
    "ollama localhost 11434": "compatible",
    "OPENAI_API_KEY not set": "keys troubleshooting tutorial",
    "openrouter": "compatible",
    "overloaded_error 529": "limits errors recipes",
    "parallel tool calls": "tools",
    "pdf question answering": "documents recipes",
    "pick one of several labels": "classify types",
    "pip install from github": "install",
    "price per call in dollars": "models budgets recipes",
    "process csv of 10000 rows": "bulk",
    "profanity check": "moderation",
    "prompt cache savings": "caching",
    "pydantic model output": "structured migrate/pydantic-ai types",
    "python version required": "install",
    "quickstart": "tutorial index",
    "RAG": "rerank embeddings citations",
    "ReadTimeout": "network cancellation limits troubleshooting",
    "reasoning effort low": "reasoning",
    "remember previous messages": "tutorial sessions conversations index",
    "request hangs forever": "troubleshooting cancellation",
    "requests per second throttle": "rate-limits",
    "resume conversation after restart": "sessions cli-chat",
    "retrieval augmented generation pipeline": "rerank embeddings citations",
    "retry when server is busy": "limits recipes errors",
    "rotate api keys": "keys",
    "run 100 prompts in parallel": "limits bulk",
    "run synchronous no await": "environments index",
    "RuntimeError must be called from async context": "environments troubleshooting",
    "same answer every time": "reference/calls tutorial recipes caching",
    "send screenshot to gpt": "pictures",
    "sentiment analysis": "classify",
    "set system instructions": "tutorial recipes migrate/anthropic",
    "show chain of thought": "reasoning",
    "source links footnotes": "citations",
    "speech recognition live microphone": "audio",
    "SSL CERTIFICATE_VERIFY_FAILED": "network",
    "stop generation button": "cancellation web-chat web",
    "stop sequences": "recipes reference/calls",
    "store conversations in postgres": "sessions deployment",
    "stream partial json": "structured",
    "stream tokens to stdout": "tutorial cancellation index",
    "summarise old messages": "conversations",
    "summarize youtube video": "documents gemini",
    "system message": "tutorial recipes",
    "temprature": "tutorial reference/calls",
    "text-to-speech mp3": "audio recipes",
    "thread id": "sessions",
    "timeout seconds parameter": "cancellation limits index migrate/openai",
    "token usage tracking": "models budgets telemetry",
    "tokens per minute limit": "rate-limits",
    "too many connections open": "network limits deployment",
    "tool throws exception": "tools",
    "tool_choice required": "tools reference/calls troubleshooting",
    "trim chat history": "conversations",
    "upload large file once": "files-api documents",
    "use in Django view": "environments web",
    "use without trio": "environments",
    "ValidationError field required": "structured troubleshooting",
    "vcr cassettes record replay": "testing",
    "vector embeddings": "embeddings",
    "vision image url": "pictures",
    "vllm server base url": "compatible network",
    "voice to text": "audio",
    "web search grounding": "hosted-tools citations",
    "where do I put my api key": "keys",
    "which model should I use": "models keys tokens",
    "whisper": "audio",
}

# What the page of the search does with a query, without the page: [page, title, anchor, ...] of each result.
SEARCH = (
    """queries => queries.map(query => Search._performSearch(...Search._parseQuery(query)).reverse().slice(0, 5))"""
)


@pytest.fixture(scope="module")
def search(wide, site):
    """A function that gives the first five results of many queries at once."""
    wide.goto(f"{site}/search.html?q=generate")
    wide.wait_for_function("typeof Search !== 'undefined' && Search._index !== null")
    return lambda queries: dict(zip(queries, wide.evaluate(SEARCH, queries), strict=True))


def test_what_newcomers_look_for(search):
    """The first five results have the page that answers it."""
    found = search(list(ASKED))
    missed = {
        asked: [page for page, *_ in found[asked]] for asked, pages in ASKED.items() if not answers(found[asked], pages)
    }
    assert missed == {}


def answers(results, pages):
    """Whether one of the pages is among the results."""
    return any(page in pages.split() for page, *_ in results)


def test_a_result_leads_to_the_section(search):
    """Which answers the question, and each page comes once."""
    found = search(["finish reason length", "blank answer", "constructor"])  # which every object of JavaScript has
    first, *_ = found["finish reason length"]
    assert first[:3] == ["troubleshooting", "Troubleshooting > Why is my answer empty?", "#why-is-my-answer-empty"]
    assert [len(results) - len({page for page, *_ in results}) for results in found.values()] == [0, 0, 0]


def test_the_search_page_shows_what_it_finds(page, site):
    """As a reader sees it: the best result first, and a link that leads to a page."""
    page.goto(f"{site}/search.html?q=system+prompt")
    first = page.locator("#search-results ul.search li > a").first
    first.wait_for()
    assert "Tutorial" in first.inner_text()
    first.click()
    page.wait_for_url("**/tutorial.html*")


def public_names():
    """All public names, with their modules."""
    return [f"{module}.{name}" for module in PUBLIC_MODULES for name in importlib.import_module(module).__all__]


def test_every_public_name_is_found_in_full(search):
    """Typed with its module, a name comes among the first three results."""
    names = [*public_names(), "allm.no_such_name_at_all"]
    found = search(names)
    missed = [name for name in names if name not in [title for _, title, *_ in found[name][:3]]]
    assert missed == ["allm.no_such_name_at_all"]


def test_every_public_name_is_found_alone(search):
    """Typed without its module, the first five results have an object of that name."""
    names = [*sorted({name.rpartition(".")[2] for name in public_names()}), "no_such_name_at_all"]
    found = search(names)
    missed = [name for name in names if name not in [title.rpartition(".")[2] for _, title, *_ in found[name]]]
    assert missed == ["no_such_name_at_all"]


def test_pages_for_language_models():
    """llms.txt links every page with what it is about, and neither it nor the pages have anything of Sphinx in them."""
    text = (SITE / "llms.txt").read_text("utf-8")
    links = re.findall(r"^- \[[^\]]+\]\(([\w/-]+)\.md\): .{20,}$", text, re.MULTILINE)
    assert sorted(f"{link}.html" for link in links) == WRITTEN
    texts = [(SITE / f"{link}.md").read_text("utf-8") for link in links] + [(SITE / "llms-full.txt").read_text("utf-8")]
    assert [text[:50] for text in texts if "{toctree}" in text or "{eval-rst}" in text or len(text) < 300] == []


def test_every_page_says_what_it_is_about():
    """For a search engine: a title and a description of its own, which is its first paragraph."""
    heads = {}
    for name in WRITTEN:
        text = (SITE / name).read_text("utf-8")
        [heads[name]] = re.findall(r'<meta name="description" content="([^"]{20,})"', text)
    assert len(set(heads.values())) == len(WRITTEN)
