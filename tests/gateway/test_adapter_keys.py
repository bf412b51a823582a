"""A vendor's key: refused, replaced, missing, or none that a header can carry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.adapter_harness import world
from tests.gateway.test_adapter_faults import answers

pytestmark = pytest.mark.gateway


async def test_vendor_refuses_the_key_until_it_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        here.server.answer = answers(401, {"error": {"message": "Incorrect API key provided: sk-test"}})
        reply = await here.post()
        assert (reply.status, reply.outcome) == (503, "refused_credentials")
        assert b"sk-test" not in reply.body
        state = here.adapter.state()
        assert state.credentials_resolved is False
        assert "openai-key/key" in state.credentials_message
        assert "sk-" not in state.credentials_message
        (tmp_path / "key").write_text("sk-another\n")
        here.server.answer = None
        assert here.adapter.state().credentials_resolved is True
        assert (await here.post()).status == 200
        assert here.server.calls[-1]["authorization"] == "Bearer sk-another"


@pytest.mark.parametrize("content", ["sk-s3cret\nsk-another\n", "sk-s3cret\x00", "sk-s3cr\u00e9t"])
async def test_a_key_that_is_no_header_is_as_good_as_missing(
    tmp_path: Path, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with world(tmp_path, side="vendor") as here:
        key = here.settings.backend.key_file  # type: ignore[union-attr]
        key.unlink()
        assert here.adapter.state().credentials_resolved is False
        key.write_text(content)
        state = here.adapter.state()
        assert state.credentials_resolved is False
        reply = await here.post()
        assert (reply.status, reply.outcome, here.server.calls) == (503, "refused_credentials", [])
        said = "".join(capfd.readouterr()) + state.credentials_message + reply.body.decode()
        assert "s3cr" not in said


@pytest.mark.parametrize("content", ["sk-s3cret sk-another", "sk-s3cr\u00e9t"])
async def test_a_new_key_that_is_no_header_leaves_the_last_good_one_and_says_so(tmp_path: Path, content: str) -> None:
    async with world(tmp_path, side="vendor") as here:
        assert (await here.post()).status == 200
        before = here.server.calls[-1]["authorization"]
        (tmp_path / "key").write_text(content)
        state = here.adapter.state()
        assert (state.ready, state.credentials_resolved) == (True, True)
        assert "openai-key/key holds no key of one word any more" in state.credentials_message
        assert "s3cr" not in state.credentials_message
        assert (await here.post()).status == 200
        assert here.server.calls[-1]["authorization"] == before
        (tmp_path / "key").write_text("sk-another\n")
        assert here.adapter.state().credentials_message == ""


async def test_a_missing_key(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        (tmp_path / "key").unlink()
        state = here.adapter.state()
        assert (state.ready, state.credentials_resolved) == (False, False)
        assert "openai-key/key" in state.credentials_message
        reply = await here.post()
        assert (reply.status, reply.outcome, here.server.calls) == (503, "refused_credentials", [])
        (tmp_path / "key").write_text("sk-1")
        assert here.adapter.state().ready
