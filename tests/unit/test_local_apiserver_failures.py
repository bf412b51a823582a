"""What the API server answers when it fails itself: a Status that says so, never a page or a broken connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, web
from structlog.testing import capture_logs

from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.auth import Tokens, User
from tests.unit.local_widgets import widget_store


class Broken:
    """Pod logs that cannot be read, by nobody's fault but ours."""

    async def read(self, namespace: str, pod: str, container: str, **options: Any) -> AsyncIterator[bytes]:
        raise RuntimeError("the secret words of a bug")
        yield b""


async def test_a_bug_is_an_internal_error_and_the_next_request_is_served() -> None:
    store, env = widget_store(), system_env()
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    store.create(("", "pods"), pod, "ns")
    app = create_app(store, Tokens(store, env, {"t": User("admin", groups=("system:masters",))}, b"k" * 32), Broken())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/namespaces/ns/pods/p"
    async with ClientSession(headers={"Authorization": "Bearer t"}) as session:
        with capture_logs() as logged:
            async with session.get(f"{url}/log") as answer:
                status = await answer.json()
        assert [(line["log_level"], line["path"]) for line in logged] == [("error", "/api/v1/namespaces/ns/pods/p/log")]
        assert (answer.status, status["kind"], status["reason"]) == (500, "Status", "InternalError")
        assert "RuntimeError" in status["message"]
        assert "secret" not in status["message"]
        async with session.get(url) as answer:
            assert answer.status == 200
    await runner.cleanup()
