"""Kubernetes resource quantities: text to an exact number. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_SCALES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)$")


def parse_quantity(text: str) -> Decimal:
    """`500m` -> 0.5, `1Gi` -> 1073741824. Raises ValueError for anything that is not a quantity."""
    match = _QUANTITY.match(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a resource quantity such as 500m, 2 or 1Gi')
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _SCALES[suffix or ""]
