"""Third-party providers: registered by a program, or by an installed package when its name is first used."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

import allm
from allm import fake
from allm.providers import Fake, FakeEmbeddings, register
from allm.runtime import registry


class Acme(Fake):
    provider = "acme"

    def __init__(self):
        super().__init__(script=[fake.text("from acme")])


class AcmeEmbeddings(FakeEmbeddings):
    provider = "acme"


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Install packages: modules whose entry points are found."""
    found = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda *, group, name=None: [entry for entry in found if entry.group == group and name in (None, entry.name)],
    )

    def install(name, source, value=None):
        (tmp_path / f"allm_{name}.py").write_text(source, "utf-8")
        sys.modules.pop(f"allm_{name}", None)
        found.append(EntryPoint(name, value or f"allm_{name}:start", "allm.providers"))

    return install


PACKAGE = """
import allm
from allm.providers import Fake

def start():
    allm.providers.register("{name}", adapter=lambda: Fake(script=[allm.fake.text("from {name}")]))
"""


async def text_of(model):
    return (await allm.generate(allm.Engine.from_model(model), "hi")).output_text


@pytest.mark.parametrize("adapter", [Acme, lambda: Acme(), f"{__name__}:Acme"], ids=["class", "function", "text"])  # noqa: PLW0108
async def test_a_registered_provider(adapter, monkeypatch):
    """Its name works in both spellings."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "Acme", Acme, raising=False)
    register("acme", adapter=adapter)
    assert await text_of("acme:x") == "from acme"
    assert await text_of("x@acme") == "from acme"
    assert allm.Engine.from_model("acme:x:y").model == "x:y"


def test_registered_services():
    """Each service has its own adapter; a service that was not registered is unknown."""
    register("acme", adapter=Acme, embedding_adapter=AcmeEmbeddings)
    engine = allm.Engine.from_model("acme:x", embedding_model="acme:e")
    assert isinstance(engine.embedding_adapter, AcmeEmbeddings)
    with pytest.raises(allm.EngineError, match="acme has no image models: expected provider:model"):
        engine.with_services(image_model="acme:i")


@pytest.mark.parametrize("name", ["acme", "openai", "groq", "voyage"])
def test_a_name_that_is_taken(name):
    """It is refused, whoever took it; `replace` replaces the given services and leaves the others."""
    register("acme", embedding_adapter=AcmeEmbeddings)
    with pytest.raises(allm.EngineError, match=r"is taken.*replace=True") as caught:
        register(name, adapter=Acme)
    assert caught.value.reason == "invalid_engine"
    register(name, adapter=Acme, replace=True)
    engine = allm.Engine.from_model(f"{name}:x")
    assert isinstance(engine.adapter, Acme)
    assert engine.with_services(embedding_model=f"{name}:e").embedding_adapter is not None if name != "groq" else True


@pytest.mark.parametrize("name", ["", "Acme", "a cme", "acme:x", "a@b", 1, None])
def test_an_invalid_name(name):
    """A name that could not be part of a model name is refused."""
    with pytest.raises(allm.EngineError, match="cannot name a provider"):
        register(name, adapter=Acme)


@pytest.mark.parametrize("adapter", [3, Acme(), "acme", "acme:", ":Acme", ""])
def test_something_that_cannot_make_an_adapter(adapter):
    """Such as an adapter that has already been made, the usual mistake."""
    with pytest.raises(allm.EngineError, match=r"^image_adapter=.* cannot make an adapter"):
        register("acme", image_adapter=adapter)
    with pytest.raises(allm.EngineError, match="was given no adapter"):
        register("acme")


@pytest.mark.parametrize("place", ["no_such_module_at_all:Acme", "allm:Acme"])
def test_a_location_that_does_not_exist(place):
    """The error comes when the provider is used, and names the location."""
    register("acme", adapter=place)
    with pytest.raises(allm.EngineError, match=place) as caught:
        allm.Engine.from_model("acme:x")
    assert caught.value.reason == "unknown_provider"
    assert caught.value.__cause__ is not None


async def test_an_installed_package(installed):
    """It is loaded when its name is used and not before; the error for an unknown name lists it."""
    installed("zeta", PACKAGE.format(name="zeta"))
    with pytest.raises(allm.EngineError, match="xai, zai, zeta; did you mean 'zeta:x'"):
        allm.Engine.from_model("zetta:x")
    assert allm.Engine.from_model("openai:x").model == "x"
    assert "allm_zeta" not in sys.modules
    assert await text_of("zeta:x") == "from zeta"
    assert await text_of("x@zeta") == "from zeta"


async def test_a_registration_takes_precedence_over_a_package(installed):
    """A package is not loaded for a name that the program has registered."""
    installed("acme", "raise SystemError")
    register("acme", adapter=Acme)
    assert await text_of("acme:x") == "from acme"


BROKEN = {
    "import no_such_module_at_all": "ModuleNotFoundError: No module named 'no_such_module_at_all'",
    "pass": "AttributeError",
    "start = 3": "TypeError",
    "def start(): raise OSError('no licence')": "OSError: no licence",
    "def start(): pass": "did not register the provider 'zeta'",
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_package(installed, source):
    """The error names the entry point and the cause; other names still work."""
    installed("zeta", source)
    with pytest.raises(allm.EngineError, match=r"allm_zeta:start") as caught:
        allm.Engine.from_model("zeta:x")
    assert BROKEN[source] in caught.value.message
    assert caught.value.reason == "unknown_provider"
    assert allm.Engine.from_model("openai:x").model == "x"
