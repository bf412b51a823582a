"""What can go wrong with a download: what is worth another try, and what is not."""

from __future__ import annotations

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that pass."""


class DeliveryError(Exception):
    """The download cannot succeed as it is; the text says what, where and what to do. It never shows a secret."""


class TransientError(Exception):
    """The source did not give the bytes this time: worth another try. `wait_s` is what the source asks for."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
