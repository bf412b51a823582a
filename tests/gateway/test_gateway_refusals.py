"""What the gateway refuses, in OpenAI's error shape, and who may call what."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from yarl import URL

from insource.gateway.view import ClientKey, DeploymentKey
from tests.gateway.gateway_harness import ALICE, AUTH, BOB, PATH, gateway, until

pytestmark = pytest.mark.gateway


def error(body: bytes) -> dict[str, object]:
    found = json.loads(body)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert found["param"] is None
    return found


async def test_each_refusal_and_that_serving_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.put(gw.view(2, max_body_bytes=1000))
        bob = {"authorization": f"Bearer {BOB.key}"}
        cases = [
            (PATH, b"{}", {}, 401, "invalid_api_key"),
            (PATH, b"{}", {"authorization": "Bearer sk-nobody"}, 401, "invalid_api_key"),
            (PATH, b"{}", bob, 403, "permission_denied"),
            ("/voice/other/v1/models", b"{}", AUTH, 404, "model_not_found"),
            ("/v1/nothing", b"{}", AUTH, 404, "model_not_found"),
            ("/voice/dictation", b"{}", AUTH, 404, "model_not_found"),
            (PATH, bytes(1001), AUTH, 413, "request_too_large"),
            (PATH, b"{}", {**AUTH, "x_insource_client": "evil"}, 400, "bad_request"),
        ]
        for path, body, headers, code, word in cases:
            async with gw.session.post(URL(gw.url + path, encoded=True), data=body, headers=headers) as answer:
                found = error(await answer.read())
                assert (answer.status, found["code"]) == (code, word), path
                assert answer.content_type == "application/json"
                assert code != 413 or "limit of 1000 bytes" in str(found["message"])
            assert (await gw.post())[0] == 200
        assert (await gw.post(body=bytes(1000)))[0] == 200
        assert not [seen for seen in gw.adapter.seen["serve"] if seen.size > 1000]


async def test_an_escaped_slash_is_sent_back_as_the_path_that_it_means(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        for path in ("/voice/dictation%2Fv1/models", "/voice/x%2f..%2fdictation/v1/models"):
            url = URL(gw.url + path, encoded=True)
            async with gw.session.post(url, headers=AUTH, allow_redirects=False) as answer:
                assert answer.status == 307, path
                assert URL(answer.headers["location"]).path == "/voice/dictation/v1/models"
        assert not gw.adapter.seen


async def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        carol = ClientKey("carol", "sk-carol-1")
        headers = {"authorization": f"Bearer {carol.key}"}
        gw.source.set_keys([ALICE, BOB, carol])
        await until(lambda: _status(gw, headers, 403))
        await gw.put(gw.view(2, clients=("alice", "carol")))
        assert (await gw.post(headers=headers))[0] == 200
        assert gw.adapter.seen["serve"][-1].headers["x-insource-client"] == "carol"
        gw.source.set_keys([ALICE, BOB])
        await until(lambda: _status(gw, headers, 401))
        assert (await gw.post())[0] == 200


async def test_nobody_allowed_admits_nobody(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await gw.put(gw.view(2, clients=()))
        assert (await gw.post())[0] == 403


async def test_no_clients_at_all_is_401_not_500(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gw.source.set_keys([])
        await until(lambda: _status(gw, AUTH, 401))


async def test_a_refused_key_list_is_never_quoted_and_the_old_one_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with gateway(tmp_path) as gw:
        gw.source.set_keys([ALICE, ClientKey("x", "sk-twice"), ClientKey("y", "sk-twice")])
        await until(lambda: _metric(gw, "insource_gateway_refusals_total 1.0"))
        assert (await gw.post())[0] == 200
        assert "sk-twice" not in str(await gw.admin("/applied"))
        assert "sk-twice" not in str(await gw.admin("/metrics"))
        assert "sk-twice" not in "".join(capfd.readouterr())


async def test_one_refused_deployment_does_not_hold_up_another(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        bad = gw.view(1, key=DeploymentKey("voice", "bad"), serve=(_broken_pool(gw),), rescue=(), spill=())
        good = gw.view(1, key=DeploymentKey("voice", "good"))
        gw.source.put(bad, good)
        await gw.applied(1, good.key)
        found = await until(lambda: _message(gw, bad.key))
        assert found
        assert (await gw.post("/voice/good/v1/models"))[0] == 200


def _broken_pool(gw: object) -> object:
    from dataclasses import replace

    from insource.wire.vocabulary import Role

    return replace(gw.adapter.pool(Role.SERVE), addresses=(("not-an-address", 1),))  # type: ignore[attr-defined]


async def _message(gw: object, key: DeploymentKey) -> str:
    return (await gw.admin("/applied"))["deployments"][str(key)]["message"]  # type: ignore[attr-defined]


async def _status(gw: object, headers: dict[str, str], wanted: int) -> bool:
    return (await gw.post(headers=headers))[0] == wanted  # type: ignore[attr-defined]


async def _metric(gw: object, line: str) -> bool:
    return line in (await gw.admin("/metrics"))[1]  # type: ignore[attr-defined]


async def test_a_rotated_master_reaches_the_adapters(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        (tmp_path / "master").write_bytes(b"fresh\nmaster-of-tests\n")
        token = hmac.new(b"fresh", b"voice", hashlib.sha256).hexdigest()

        async def fresh() -> bool:
            await gw.post()
            return gw.adapter.seen["serve"][-1].headers["x-insource-gateway-token"] == token

        await until(fresh)
