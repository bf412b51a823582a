"""Forms made from what the paths that take one know: whatever is in them is served, or the client's mistake."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insource.adapter.parameters import FORMATS, GRANULARITIES, IMPOSSIBLE, PROMPT_MAX_CHARS
from insource.adapter.requests import ImageEdit
from insource.adapter.warmup import tone_wav
from insource.wire.vocabulary import Modality
from tests.gateway.adapter_answers import png
from tests.gateway.adapter_harness import world, write_routes

pytestmark = pytest.mark.gateway
TRANSCRIPTIONS, TRANSLATIONS, EDITS = "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits"
MODALITY = {
    TRANSCRIPTIONS: Modality.TRANSCRIPTION,
    TRANSLATIONS: Modality.TRANSCRIPTION,
    EDITS: Modality.IMAGE,
}
MODEL = {Modality.TRANSCRIPTION: "whisper-1", Modality.IMAGE: "gpt-image-1-mini"}
SPOKEN = ("model", "language", "prompt", "response_format", "temperature", "stream", "timestamp_granularities[]")
FIELDS = {
    TRANSCRIPTIONS: (*SPOKEN, *IMPOSSIBLE, "unheard_of"),
    TRANSLATIONS: (*SPOKEN, *IMPOSSIBLE, "unheard_of"),
    EDITS: (*ImageEdit.model_fields, *ImageEdit.impossible, "mask", "image[]", "unheard_of"),
}
FILE = {TRANSCRIPTIONS: "file", TRANSLATIONS: "file", EDITS: "image"}
CONTENT = {"file": tone_wav(), "image": base64.b64decode(png())}
VALUES = (
    st.sampled_from([*FORMATS, *GRANULARITIES, "en", "true", "false", "1024x1024", "auto", "high", "png", "url"])
    | st.sampled_from(
        ["", " ", "0", "1", "1.0000001", "-0.1", "nan", "inf", "1e400", "10", "11", "99999999999999999999"]
    )
    | st.sampled_from(
        ["\0", "\r\n--b--", "\U0001f600", "\u00b2", "{}", "x" * PROMPT_MAX_CHARS, "x" * (PROMPT_MAX_CHARS + 1)]
    )
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
FILES = st.sampled_from(sorted(CONTENT.values())) | st.binary(max_size=64)
Part = tuple[str, str | bytes]


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, list[Part]]:
    """A path and a form for it: mostly what it needs, some of what it knows, repeated now and then, in any order."""
    path = draw(st.sampled_from(sorted(FIELDS)))
    file = FILE[path]
    needed: list[Part] = [
        ("model", "any"),
        (file, CONTENT[file]),
        *([("prompt", "a red star")] if path == EDITS else []),
    ]
    parts = [each for each in needed if draw(st.integers(0, 9))]
    for name in draw(st.lists(st.sampled_from(FIELDS[path]), max_size=3)):
        parts.append((name, draw(VALUES)))
    if draw(st.integers(0, 4)) == 0:
        parts.append((draw(st.sampled_from([file, "mask", "unheard_of"])), draw(FILES)))
    return path, draw(st.permutations(parts))


def test_no_form_makes_the_adapter_fail(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        worlds = {}
        opened = []
        for modality, model in MODEL.items():
            folder = tmp_path / modality
            folder.mkdir()
            write_routes(folder, modality=modality.value, model=model)
            opened.append(world(folder, side="vendor", modality=modality))
            worlds[modality] = runner.run(opened[-1].__aenter__())
        statuses = set()

        @settings(max_examples=300, suppress_health_check=list(HealthCheck))
        @given(forms())
        def ask(sent: tuple[str, list[Part]]) -> None:
            path, parts = sent
            here = worlds[MODALITY[path]]
            reply = runner.run(here.send_form(path, parts))
            assert reply.status in (200, 400), reply.body
            assert reply.outcome == ("ok" if reply.status == 200 else "client")
            assert reply.status == 200 or reply.error["message"]
            assert list((here.folder / "wal" / "spool").iterdir()) == []
            statuses.add(reply.status)

        try:
            ask()
        finally:
            for each in opened:
                runner.run(each.__aexit__(None, None, None))
        assert statuses == {200, 400}
