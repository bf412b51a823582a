"""Kubernetes resource quantities: text to an exact number, and to the form in which they are stored. Pure."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal
from functools import lru_cache

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


_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """As Kubernetes writes it: a whole number, with the largest suffix that keeps it one (`0.5` -> `500m`).

    Raises ValueError. Source: k8s.io/apimachinery, pkg/api/resource/quantity.go.
    """
    value = parse_quantity(text).quantize(Decimal("1e-9"), ROUND_UP)
    match = _QUANTITY.match(text.strip())
    if not value or match is None:
        return "0"
    if (match.group(3) or "").endswith("i") and abs(value) >= 1024 and value == value.to_integral_value():
        power = 0
        while power < len(_BINARY) - 1 and value % 1024 == 0:
            value, power = value / 1024, power + 1
        return f"{int(value)}{_BINARY[power]}"
    exponent = max(each for each in _DECIMAL if (value.scaleb(-each)) % 1 == 0)
    number = int(value.scaleb(-exponent))
    if match.group(2):
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL[exponent]}"
