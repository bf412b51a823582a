"""`decide_outcome`, row by row of the research's table."""

import pytest

from insource.gateway.outcomes import decide_outcome, was_reached


@pytest.mark.parametrize(
    ("flags", "word", "last", "request_flags", "expected"),
    [
        ("", "ok", True, "", "ok"),
        ("", "server", False, "", "server"),
        ("", "shed", False, "", "shed"),
        ("", "client", True, "", "client"),
        ("", "refused_policy", True, "URX", "refused_policy"),
        ("", "refused_credentials", False, "", "refused_credentials"),
        ("UPE", "ok", True, "UPE", "server"),  # the body broke off
        ("UC", "", False, "", "server"),
        ("UF", "", False, "", "server"),
        ("UF", "", True, "UF,URX", "server"),
        ("UPE", "shed", False, "", "shed"),  # the refusal stands, however its body ended
        ("", "ok", True, "DC", "gone"),
        ("", "", True, "DC", "gone"),
        ("", "", True, "UT", "timeout"),
        ("UT", "", False, "", "timeout"),
        ("", "ok", False, "DC", "ok"),  # an earlier attempt than the one the client left
        ("", "", True, "", "unknown"),  # a status alone decides nothing
        ("", "nonsense", True, "", "unknown"),
        ("", "", True, None, "unknown"),
        ("", "ok", True, None, "unknown"),  # Envoy died: whether the body arrived is not known
        ("", "server", True, None, "server"),
        ("UC", "", True, None, "server"),
    ],
)
def test_row(flags: str, word: str, last: bool, request_flags: str | None, expected: str) -> None:
    assert decide_outcome(flags, word, last, request_flags) == expected


def test_reached() -> None:
    assert not was_reached(0, "UF")
    assert was_reached(0, "UC")
    assert was_reached(0, "")
    assert was_reached(503, "UF")
