"""What `Fake` has beside chat: counts, lists and files, without a network."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Fake
from allm.testing import FilesConformance, ModelListConformance, TokenCountConformance

IN_MEMORY = {"http": "works in memory", "api_key": "asks nobody"}
BUSY = allm.AdapterError("busy", reason="overloaded", status=503)


class TestFiles(FilesConformance):
    lacks = IN_MEMORY

    def make_adapter(self, setup):
        return Fake()


class TestModels(ModelListConformance):
    lacks = IN_MEMORY

    def make_adapter(self, setup):
        return Fake(models=["a", "b"])


class TestCounts(TokenCountConformance):
    lacks = IN_MEMORY

    def make_adapter(self, setup):
        return Fake(tokens=7)


async def test_a_file_lives_until_it_is_deleted(tmp_path):
    """Uploaded, found, listed, read and deleted; what is not there is an error with the reason of a provider."""
    adapter = Fake()
    engine = allm.Engine(adapter=adapter)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 a")
    first = await allm.files.upload(engine, tmp_path / "a.pdf", expires_in=3600)
    second = await allm.files.upload(engine, b"b", filename="b.txt")
    assert (first.filename, first.mime_type, first.size) == ("a.pdf", "application/pdf", 10)
    assert first.expires_at is not None
    assert second.expires_at is None
    assert await allm.files.list(engine) == (first, second)
    assert await allm.files.get(engine, second.id) == second
    assert await allm.files.read(engine, first) == b"%PDF-1.4 a"
    assert (await allm.files.download(engine, second, tmp_path / "b.txt")).read_bytes() == b"b"
    assert adapter.files == {first.id: b"%PDF-1.4 a", second.id: b"b"}
    await allm.files.delete(engine, first)
    assert await allm.files.list(engine) == (second,)
    for call in (allm.files.get, allm.files.read, allm.files.delete):
        with pytest.raises(allm.AdapterError, match=rf"no file '{first.id}'; it keeps {second.id}") as caught:
            await call(engine, first)
        assert (caught.value.reason, caught.value.status) == ("not_found", 404)


async def test_a_file_is_in_the_prompt():
    """The reference that came back is what the call has."""
    adapter = Fake([fake.text("Short.")])
    engine = allm.Engine(adapter=adapter)
    file = await allm.files.upload(engine, b"%PDF-1.4 a", filename="a.pdf")
    await allm.generate(engine, allm.user("Summarise", allm.Document.from_upload(file)))
    [request] = adapter.requests
    assert request.messages[0].parts[1].document == allm.Document.from_upload(file)


async def test_progress_is_told_and_what_it_raises_comes_out():
    """As with a provider."""

    def told(sent, total):
        seen.append((sent, total))
        if total == 3:
            raise KeyError("mine")

    seen = []
    engine = allm.Engine(adapter=Fake(), retry=None)
    await allm.files.upload(engine, b"four", on_progress=told)
    with pytest.raises(KeyError, match="mine"):
        await allm.files.upload(engine, b"thr", on_progress=told)
    assert seen == [(4, 4), (3, 3)]
    assert [file.size for file in await allm.files.list(engine)] == [4]


async def test_models_are_those_that_are_given():
    """Names, or what is known of each; by default there is one."""
    known = allm.models.ModelInfo(provider="fake", id="big", context_window=5)
    models = await allm.list_models(allm.Engine(adapter=Fake(models=["small", known])))
    assert models == (allm.models.ModelInfo(provider="fake", id="small"), known)
    assert [model.id for model in await allm.list_models(allm.Engine(adapter=Fake()))] == ["fake"]


async def test_counts_are_those_that_are_given():
    """A number, or a function of the request; without one, an estimate that says so."""
    counted = await allm.count_tokens(allm.Engine(adapter=Fake(tokens=12)), "hi")
    assert (counted.tokens, counted.exact) == (12, True)
    by_length = Fake(tokens=lambda request: len(request.messages[0].text))
    assert (await allm.count_tokens(allm.Engine(adapter=by_length), "hello")).tokens == 5
    assert not (await allm.count_tokens(allm.Engine(adapter=Fake()), "hi")).exact


async def test_trouble_comes_in_the_order_of_the_requests(autojump_clock):
    """A failure that may pass is retried; what is raised before anything is sent is not."""
    refused = allm.AdapterError("no", reason="unsupported_feature")
    trouble = [[fake.delay(5), fake.error(BUSY)], [], [fake.preflight_error(refused)], [fake.error(BUSY)]]
    engine = allm.Engine(adapter=Fake(trouble=trouble), retry=allm.RetryPolicy(max_attempts=2, base_delay=1))
    assert await allm.files.upload(engine, b"x")
    with pytest.raises(allm.AdapterError, match="no"):
        await allm.list_models(engine)
    with pytest.raises(allm.AdapterError, match="busy"):
        await allm.files.list(engine, retry=None)
    assert len(await allm.files.list(engine)) == 1


async def test_what_is_beside_chat_tells_telemetry_how_it_ended():
    """Each has a span that ends with an `outcome`, and with what it found."""
    told = {}
    detach = allm.telemetry.attach(lambda event: told.update({event.name: event.attributes}))
    engine = allm.Engine(adapter=Fake(tokens=7), model="m")
    await allm.count_tokens(engine, "Hello")
    await allm.caches.create(engine, "Hello")
    await allm.list_models(engine)
    await allm.files.list(engine)
    detach()
    assert {name: facts["outcome"] for name, facts in told.items()} == dict.fromkeys(
        ("count_tokens", "caches", "list_models", "files"), "completed"
    )
    assert (told["count_tokens"]["tokens"], told["count_tokens"]["exact"]) == (7, True)
    assert told["caches"]["tokens"] is not None
