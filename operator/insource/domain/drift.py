"""Whether a live object already is what we want, so that a restart or a resync writes nothing.

A subset comparison: what we do not mention is somebody else's. Lists are compared item by item, by `name` where the
items have one; numbers and texts that Kubernetes treats alike (int-or-string, quantities) are alike here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"^([+-]?[0-9]+(?:\.[0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_SCALE: dict[str | None, Decimal] = {
    None: Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def covers(desired: Any, live: Any) -> bool:
    """True if everything in `desired` is so in `live`. Absent and empty are the same: the API drops empty fields."""
    if desired == live:
        return True
    if isinstance(desired, Mapping):
        return _covers_mapping(desired, live)
    if isinstance(desired, str):
        return (live is None and not desired) or _same_quantity(desired, live)
    if isinstance(desired, Sequence):
        return _covers_list(desired, live)
    if isinstance(desired, bool) or desired is None:
        return bool(desired) == bool(live) and (live is None or isinstance(live, bool))
    return _same_quantity(desired, live)


def _covers_mapping(desired: Mapping[str, Any], live: Any) -> bool:
    if live is None:
        return not desired
    return isinstance(live, Mapping) and all(covers(value, live.get(key)) for key, value in desired.items())


def _covers_list(desired: Sequence[Any], live: Any) -> bool:
    if not live:
        return not desired and (live is None or isinstance(live, Sequence))
    if not isinstance(live, Sequence) or isinstance(live, str):
        return False
    if desired and all(isinstance(item, Mapping) and "name" in item for item in desired):
        # Others may add items (an injected sidecar): ours must be there, in our order.
        names = [item["name"] for item in desired]
        ours = [item for item in live if isinstance(item, Mapping) and item.get("name") in names]
        return len(ours) == len(desired) and all(map(covers, desired, ours))
    return len(desired) == len(live) and all(map(covers, desired, live))


def _same_quantity(desired: Any, live: Any) -> bool:
    if isinstance(live, bool) or not isinstance(live, str | int | float):
        return False
    one, other = _quantity(desired), _quantity(live)
    return one is not None and one == other


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.match(str(value))
    return Decimal(match[1]) * _SCALE[match[2]] if match else None
