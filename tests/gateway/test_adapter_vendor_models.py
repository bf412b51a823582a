"""A vendor's list of models: asked for beside all work, reported, and harmless whatever comes back."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from insource.adapter.dialects.openai_models import listing_of
from insource.adapter.vendor_models import LARGEST_BYTES, REPORTED_MOST
from insource.wire.gateway import ListedModel, ModelsReport
from insource.wire.vocabulary import Dialect, Modality
from tests.gateway import emulator_harness
from tests.gateway.adapter_harness import KEY, World, serve, until, world, write_routes
from tests.gateway.emulator_harness import emulator, meter
from tests.gateway.test_adapter_vendor_way import Proxy, private_endpoint

pytestmark = pytest.mark.gateway
SOON = {"models_first_s": 0.01, "models_every_s": 0.1, "models_again_s": 0.01, "models_timeout_s": 30.0}
IMPATIENT = {**SOON, "models_timeout_s": 0.3}
ONCE = {**SOON, "models_every_s": 600.0}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def listed(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"object": "list", "data": list(entries), **more}).encode()


def model(name: str, day: str | None = None) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": day}


GOOD = listed(model("whisper-1", "2027-02-26"), model("tts-1", "2027-01-06"), model("gpt-image-2"))
AS_REPORTED = (
    ListedModel(id="tts-1", shutdown_date="2027-01-06"),
    ListedModel(id="whisper-1", shutdown_date="2027-02-26"),
)


class ListingVendor:
    """A vendor that has nothing but its list of models, and keeps who asked for it."""

    def __init__(self) -> None:
        self.body: bytes | Answer = GOOD
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[web.Request] = []

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if isinstance(self.body, bytes):
            return web.Response(body=self.body, status=self.status, headers=self.headers)
        return await self.body(request)


@asynccontextmanager
async def before(
    folder: Path, vendor: ListingVendor, patience: dict[str, Any] = SOON, **backend: Any
) -> AsyncIterator[World]:
    """A ready adapter of this vendor, whose one deployment uses whisper-1."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", vendor.take)
    runner, port = await serve(application)
    settings = {"endpoint": f"http://127.0.0.1:{port}/v1", **backend}
    try:
        async with world(folder, side="vendor", backend=settings, patience=patience) as here:
            yield here
    finally:
        await runner.cleanup()


def report(here: World) -> ModelsReport:
    told = here.adapter.state().vendor_models
    assert told is not None
    return told


async def test_those_in_use_and_those_with_a_day_are_reported(tmp_path: Path) -> None:
    vendor = ListingVendor()
    async with before(tmp_path, vendor, ONCE) as here:
        assert report(here) == ModelsReport()
        await until(lambda: report(here).listed_at is not None)
        assert report(here).models == AS_REPORTED
        request = vendor.asked[0]
        assert (request.method, request.path_qs) == ("GET", "/v1/models")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        # Another model is used from now on: known at once, from the same list.
        write_routes(tmp_path, model="gpt-image-2")
        assert ListedModel(id="gpt-image-2") in report(here).models
        write_routes(tmp_path, model="dall-e-3")
        assert ListedModel(id="dall-e-3", listed=False) in report(here).models
        write_routes(tmp_path, model="dall-e-3", allowed=False)
        assert "dall-e-3" not in {item.id for item in report(here).models}
        assert len(vendor.asked) == 1


async def test_it_is_no_attempt_and_takes_nobodys_place(tmp_path: Path) -> None:
    """With one request a minute, one at a time, and a list that hangs, work goes on; the ledger hears of work only."""
    vendor = ListingVendor()
    hanging = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"text": "hello"})
        hanging.set()
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    vendor.body = answer
    patience = {**ONCE, "models_timeout_s": 30.0}
    async with before(tmp_path, vendor, patience, requests_per_minute=1, concurrency=1) as here:
        await hanging.wait()
        reply = await here.post()
        assert reply.status == 200, reply.body
        await here.ended(reply.request)
        assert list(here.ledger.starts()) == [f"{reply.request}.0.1"]
        assert (await here.post()).status == 429, "the minute's one was taken by work"


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in GOOD * 100:
        await response.write(bytes((byte,)))
        await asyncio.sleep(0.02)
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1 << 14):
        await response.write(bytes(1 << 16))
    raise AssertionError("nobody reads a gibibyte")


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": str(len(GOOD))})
    await response.prepare(request)
    await response.write(GOOD[:40])
    assert request.transport is not None
    request.transport.abort()
    return response


def says(body: bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


BOMB = gzip.compress(bytes(LARGEST_BYTES + (1 << 20)), 1)
HOSTILE: dict[str, tuple[Answer, str]] = {
    "hangs": (hang, "gives no whole list of models within 0.3 s"),
    "drips": (drip, "gives no whole list of models within 0.3 s"),
    "endless": (endless, "sends a list of models of more than 4 MiB"),
    "bomb": (says(BOMB, **{"content-encoding": "gzip"}), "sends a list of models of more than 4 MiB"),
    "cut": (cut, "cannot be asked for its list of models (broken_off)"),
    "html": (says(b"<html>Welcome</html>"), "sends something else than a list of models"),
    "empty": (says(b""), "sends something else than a list of models"),
    "deep": (says(b"[" * 200_000), "sends something else than a list of models"),
    "other": (says(b'{"data": {"id": "m"}}'), "sends something else than a list of models"),
    "many": (says(listed(*[1] * 10_001)), "sends something else than a list of models"),
    "key": (says(listed(model(f"whisper-1 {KEY}", "soon"))), "sends the key back as the name of a model"),
    "hidden key": (
        says(listed(model(KEY, "2027-01-01")).replace(b"-", b"\\u002d")),
        "sends the key back as the name of a model",
    ),
    "404": (says(b"{}", 404), "has no list of models (it answers 404)"),
    "401": (says(b"{}", 401), "does not let this key list its models (it answers 401)"),
    "407": (says(b"{}", 407), "does not let this key list its models (it answers 407)"),
    "429": (says(b"{}", 429), "answers 429 when it is asked for its models"),
    "500": (says(b"{}", 500), "answers 500 when it is asked for its models"),
    "302": (says(b"", 302, location="/v1/elsewhere"), "answers 302 when it is asked for its models"),
    "packed": (says(b"no gzip", **{"content-encoding": "gzip"}), "cannot be asked for its list of models (broken_off)"),
}


@pytest.mark.parametrize("which", HOSTILE)
async def test_no_answer_does_harm_and_the_last_good_list_stays(tmp_path: Path, which: str) -> None:
    vendor = ListingVendor()
    answer, words = HOSTILE[which]
    vendor.body = answer
    async with before(tmp_path, vendor, IMPATIENT if "0.3 s" in words else SOON) as here:
        # Before there was any list: said at once.
        await until(lambda: report(here).problem != "")
        assert report(here).problem == f"the vendor openai {words}"
        assert (report(here).models, report(here).has_none) == ((), which == "404")
        # There is one: the words go.
        vendor.body = GOOD
        await until(lambda: report(here).listed_at is not None)
        assert report(here).problem == ""
        # It fails again: the list stays, and a failure that lasts is said.
        vendor.body = answer
        await until(lambda: report(here).problem != "")
        assert report(here).problem == f"the vendor openai {words}"
        assert (report(here).models, report(here).has_none) == (AS_REPORTED, False)
        # All the while it is ready, and its key is good.
        state = here.adapter.state()
        assert (state.ready, state.credentials_resolved, state.message) == (True, True, "")
        assert KEY not in state.model_dump_json()
        assert here.ledger.records == {}


async def test_a_429_is_waited_for_and_closes_no_door(tmp_path: Path) -> None:
    vendor = ListingVendor()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({}, status=429, headers={"retry-after": "3600"})
        return web.json_response({"text": "hello"})

    vendor.body = answer
    async with before(tmp_path, vendor, ONCE) as here:
        await until(lambda: report(here).problem != "")
        assert (await here.post()).status == 200
        await asyncio.sleep(0.3)
        assert [request.method for request in vendor.asked] == ["GET", "POST"]


async def test_a_refused_key_is_tried_again_when_it_is_another(tmp_path: Path) -> None:
    vendor = ListingVendor()

    async def answer(request: web.Request) -> web.StreamResponse:
        good = request.headers["authorization"] == "Bearer sk-that-may-list"
        return web.Response(body=GOOD) if good else web.Response(status=403)

    vendor.body = answer
    async with before(tmp_path, vendor, {**ONCE, "models_again_s": 600.0}) as here:
        await until(lambda: report(here).problem != "")
        assert here.adapter.state().credentials_resolved is True, "it may be good for all the rest"
        (tmp_path / "key").write_text("sk-that-may-list\n")
        await until(lambda: report(here).listed_at is not None)
        assert len(vendor.asked) == 2


async def test_nothing_is_asked_without_a_key(tmp_path: Path) -> None:
    vendor = ListingVendor()
    async with before(tmp_path, vendor, ONCE, key_file=tmp_path / "later") as here:
        await asyncio.sleep(0.2)
        assert (vendor.asked, report(here)) == ([], ModelsReport())
        (tmp_path / "later").write_text(KEY)
        await until(lambda: report(here).listed_at is not None)


async def test_it_goes_the_vendors_way(tmp_path: Path) -> None:
    """Through the proxy with its credentials, and to nobody that the private CA has not signed."""
    proxy = Proxy(credentials="egress:pass")
    (tmp_path / "proxy").write_text("egress:wrong\n")
    async with private_endpoint(tmp_path, proxy) as there:
        (tmp_path / "ca.crt").write_text(there.authority.pem)
        settings = {
            "endpoint": f"https://127.0.0.1:{there.port}/v1",
            "ca_file": tmp_path / "ca.crt",
            "proxy_url": f"http://127.0.0.1:{proxy.port}",
            "proxy_credentials_file": tmp_path / "proxy",
        }
        async with world(tmp_path, side="vendor", backend=settings, patience={**ONCE, "models_again_s": 600.0}) as here:
            await until(lambda: report(here).problem != "")
            assert report(here).problem.endswith("cannot be asked for its list of models (proxy_407)")
            (tmp_path / "proxy").write_text("egress:pass\n")
            # This vendor has no such route: that it answers so shows that it was reached.
            await until(lambda: report(here).has_none)
            assert proxy.asked == [f"127.0.0.1:{there.port}"] * 2
        settings |= {"ca_file": None, "proxy_url": "", "proxy_credentials_file": None}
        async with world(tmp_path, side="vendor", backend=settings, patience=ONCE) as here:
            await until(lambda: report(here).problem != "")
            assert report(here).problem.endswith("(certificate)")


@pytest.mark.parametrize("dialect", [Dialect.AZURE_OPENAI, Dialect.AZURE_SPEECH, Dialect.AZURE_IMAGES])
async def test_who_has_no_such_list_is_not_asked(tmp_path: Path, dialect: Dialect) -> None:
    vendor = ListingVendor()
    modality = Modality.IMAGE if dialect is Dialect.AZURE_IMAGES else Modality.SPEECH
    write_routes(tmp_path, modality=modality.value)
    async with before(tmp_path, vendor, dialect=dialect, api_version="v1") as here:
        await asyncio.sleep(0.2)
        assert here.adapter.state().vendor_models is None
        assert vendor.asked == []


async def test_an_in_house_adapter_reports_none(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert here.adapter.state().vendor_models is None


@pytest.mark.parametrize("dialect", [Dialect.OPENAI, Dialect.OPENAI_COMPATIBLE])
async def test_openai_as_it_is_emulated(tmp_path: Path, dialect: Dialect) -> None:
    (tmp_path / "vendor").mkdir()
    async with emulator(tmp_path / "vendor", "openai") as url:
        settings = {"dialect": dialect, "endpoint": f"{url}/v1"}
        async with world(tmp_path, side="vendor", backend=settings, patience=ONCE) as here:
            await until(lambda: "(it answers 401)" in report(here).problem)
            (tmp_path / "key").write_text(emulator_harness.KEY + "\n")
            await until(lambda: report(here).listed_at is not None)
            told = {item.id: item.shutdown_date for item in report(here).models}
            assert (told["whisper-1"], told["tts-1"]) == ("2027-02-26", "2027-01-06")
            assert "text-embedding-3-small" not in told, "it has no day, and nobody uses it"
            assert (await meter(url))["lines"] == []


async def test_a_page_of_more_proves_no_absence_and_others_are_passed_over(tmp_path: Path) -> None:
    vendor = ListingVendor()
    vendor.body = listed(
        model("tts-1", "2027-01-06"),
        model("", "2027-01-01"),
        model("a\nb", "2027-01-01"),
        model("x" * 254, "2027-01-01"),
        {"id": 7, "shutdown_date": "2027-01-01"},
        "gpt-image-2",
        None,
        has_more=True,
    )
    async with before(tmp_path, vendor, ONCE) as here:
        await until(lambda: report(here).listed_at is not None)
        assert report(here).models == AS_REPORTED[:1]


async def test_days_that_are_none(tmp_path: Path) -> None:
    vendor = ListingVendor()
    vendor.body = listed(model("whisper-1", "in spring"), model("tts-1", "2027-01-06"))
    async with before(tmp_path, vendor, ONCE) as here:
        await until(lambda: report(here).listed_at is not None)
        assert report(here).models == (ListedModel(id="tts-1", shutdown_date="2027-01-06"), ListedModel(id="whisper-1"))
        assert report(here).problem == ('the vendor openai names a shutdown_date of model "whisper-1" that is no day')


@pytest.mark.parametrize(
    ("told", "day"),
    [
        (None, ""),
        ("2027-02-26", "2027-02-26"),
        ("2027-02-26T00:00:00Z", "2027-02-26"),
        ("2027-02-30", ""),
        ("20270226", ""),
        ("2027-02-26 or so", ""),
        ("", ""),
        (1709284527, ""),
        (True, ""),
        ([], ""),
        ({"day": 1}, ""),
        ("9" * 1_000_000, ""),
    ],
)
def test_a_shutdown_date_is_a_day_or_nothing(told: Any, day: str) -> None:
    content = json.dumps({"data": [{"id": "m", "shutdown_date": told}]}).encode()
    assert listing_of(content).days == {"m": day}
    assert bool(listing_of(content).problem) == (told is not None and not day)


async def test_a_long_list_is_reported_in_part_the_soonest_first(tmp_path: Path) -> None:
    vendor = ListingVendor()
    vendor.body = listed(
        model("whisper-1"), *(model(f"m-{number:04}", f"2027-{number % 12 + 1:02}-01") for number in range(2400))
    )
    async with before(tmp_path, vendor, ONCE) as here:
        await until(lambda: report(here).listed_at is not None)
        models = report(here).models
        assert len(models) == REPORTED_MOST
        assert [item.id for item in models] == sorted(item.id for item in models)
        assert {item.shutdown_date for item in models if item.id != "whisper-1"} == {"2027-01-01"}
        assert ListedModel(id="whisper-1") in models
