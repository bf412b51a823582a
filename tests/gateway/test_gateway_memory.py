"""Envoy and its memory limit: it refuses new work before the kernel would end it with all that is in flight."""

import json
from pathlib import Path

import pytest

from tests.gateway.gateway_harness import gateway, reset, until

pytestmark = pytest.mark.gateway


async def test_near_its_limit_it_refuses_what_is_new(tmp_path: Path) -> None:
    async with gateway(tmp_path, envoy={"memory_limit_bytes": 4 << 20}) as gw:

        async def refused() -> bool:
            return (await gw.post())[0] == 503

        await until(refused, what="it has looked at its memory")
        _, headers, body = await gw.post()
        assert json.loads(body)["error"]["code"] == "overloaded", "it is not the deployment's fault"
        assert headers["retry-after"] == "1"


async def test_far_from_it_it_serves(tmp_path: Path) -> None:
    async with gateway(tmp_path, envoy={"memory_limit_bytes": 4 << 30}) as gw:
        assert (await gw.post())[0] == 200


async def test_a_deployment_that_does_not_answer_is_told_otherwise(tmp_path: Path) -> None:
    async with gateway(tmp_path, envoy={"memory_limit_bytes": 4 << 30}) as gw:
        for backend in (gw.adapter, gw.vendor):
            for role in ("serve", "rescue", "spill"):
                backend.behaviour[role] = reset
        status, _, body = await gw.post()
        assert (status, json.loads(body)["error"]["code"]) == (503, "upstream_unavailable")
