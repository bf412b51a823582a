"""The emulator's rate limit and the words of its headers."""

from __future__ import annotations

import pytest

from insource.emulator.keys import masked
from insource.emulator.limits import RequestBucket, duration_text


def test_admits_the_limit_then_refills_evenly() -> None:
    bucket = RequestBucket(3, now=0)
    assert [bucket.take(0).admitted for _ in range(4)] == [True, True, True, False]
    refused = bucket.take(5)
    assert refused.retry_after_s == pytest.approx(15)
    assert refused.retry_headers()["retry-after"] == "15"
    assert bucket.take(20).admitted
    assert not bucket.take(20).admitted


def test_headers_say_what_is_left() -> None:
    headers = RequestBucket(500, now=0).take(0).headers()
    assert headers == {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
    }


@pytest.mark.parametrize(("seconds", "text"), [(0.12, "120ms"), (1.5, "1.5s"), (20, "20s"), (360, "6m0s")])
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_keys_are_masked() -> None:
    assert masked("sk-proj-0123456789abcdef") == "sk-proj-" + "*" * 12 + "cdef"
    assert "secret" not in masked("secret")
