"""Bounded text and number types of the custom resources, and the base of every spec model.

Every bound here ends up in the CRDs; nothing here knows a kind.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

LABEL_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
DURATION_PATTERN = r"^([0-9]{1,6}(ms|s|m|h))+$"
DECIMAL_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
FILE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
SERVED_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._:@+/-]*[A-Za-z0-9])?$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

Label = Annotated[str, Field(min_length=1, max_length=40, pattern=LABEL_PATTERN)]
"""A name that becomes part of other names and a label value: lower case letters, digits and `-`."""
ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=SUBDOMAIN_PATTERN)]
"""The name of another object; at most 63 characters, because it is also a label value."""
ModelId = Annotated[str, Field(min_length=1, max_length=253)]
ServedName = Annotated[str, Field(min_length=1, max_length=253, pattern=SERVED_NAME_PATTERN)]
"""What clients may write as `model`: letters, digits and `._:@+/-`, such as `whisper-1` or `openai/whisper-1`."""
Text = Annotated[str, Field(max_length=1024)]
Word = Annotated[str, Field(min_length=1, max_length=253)]
Duration = Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)]
"""Such as `90s`, `20m` or `1h30m`."""
Money = Annotated[str, Field(max_length=19, pattern=DECIMAL_PATTERN)]
"""Decimal text in the installation's one currency, at most nine decimals."""
Quantity = Annotated[str, Field(max_length=32, pattern=QUANTITY_PATTERN)]
"""A Kubernetes quantity, such as `500m` or `2Gi`; always text here."""
Date = Annotated[str, Field(max_length=10, pattern=DATE_PATTERN)]
"""A day, UTC, from its first moment."""
FilePath = Annotated[str, Field(min_length=1, max_length=512, pattern=FILE_PATTERN)]
"""A relative path of plain names that begin with a letter, a digit or `_`: it cannot leave its folder."""
Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]

_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_MS_PER = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


class Spec(BaseModel):
    """Base of every model here: camelCase outside, unknown fields ignored (the API server prunes, newer CRDs add)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


@lru_cache(maxsize=256)
def duration_s(text: str) -> int:
    """Whole seconds of a `Duration`, rounded up. ValueError with the text if it is none."""
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"not a duration: {text!r} (write it like 90s, 20m or 1h30m)")
    total_ms = sum(int(number) * _MS_PER[unit] for number, unit in _DURATION_PART.findall(text))
    return -(-total_ms // 1000)


def decimal(text: str) -> Decimal:
    """The exact value of a `Money` text. ValueError if it is none."""
    if not re.match(DECIMAL_PATTERN, text):
        raise ValueError(f"not a decimal: {text!r} (write it like 0.36)")
    return Decimal(text)


def listed_by(*keys: str) -> dict[str, Any]:
    """Schema extension of a list of named items: applied and merged by key, no duplicates."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One CEL rule of a schema, for `model_config` or a field's `json_schema_extra`."""
    return {"rule": expression, "message": message, **more}


def rules(*items: dict[str, str]) -> dict[str, Any]:
    """Schema extension that carries CEL rules."""
    return {"x-kubernetes-validations": list(items)}
