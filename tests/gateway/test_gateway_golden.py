"""Envoy itself accepts every example that the golden files hold."""

from pathlib import Path

import pytest

from tests.gateway import gateway_examples as examples
from tests.gateway.gateway_harness import gateway

pytestmark = pytest.mark.gateway


async def test_envoy_accepts_every_example(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        gw.source.put(*examples.ALL)
        for view in examples.ALL:
            await gw.applied(view.version, view.key)
        answers = (await gw.admin("/applied"))["deployments"]
        assert [answer["message"] for answer in answers.values()] == [""] * len(answers)
