"""What a client may ask of a list or a watch, read and checked as the API server does (ListOptions). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from insource.local.store_errors import Cause, bad_request, invalid

EXACT, NOT_OLDER = "Exact", "NotOlderThan"


@dataclass(frozen=True)
class ListOptions:
    """One request's. `resource_version` is checked to be a number (or empty) for lists only, as there."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    match: str = ""
    watch: bool = False
    initial_events: bool | None = None
    bookmarks: bool = False
    timeout_s: int | None = None

    @property
    def exact_version(self) -> int | None:
        """The one version that a list must be of. A limit with a version asks for it without saying so."""
        asked = self.match == EXACT or (not self.match and self.limit > 0)
        if self.continue_ or not asked or self.resource_version in ("", "0"):
            return None
        return int(self.resource_version)


def is_true(text: str | None) -> bool:
    """A query parameter as Go converts it: whatever is there and does not say `false` or `0`."""
    return text is not None and text.lower() not in ("false", "0")


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """Raises ApiError 400 if the parameter is there and is no whole number."""
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Raises ApiError 400 for what cannot be read, 422 for what does not go together."""
    options = ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        limit=whole_number(query, "limit") or 0,
        continue_=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        watch=is_true(query.get("watch")),
        initial_events=is_true(query["sendInitialEvents"]) if "sendInitialEvents" in query else None,
        bookmarks=is_true(query.get("allowWatchBookmarks")),
        timeout_s=whole_number(query, "timeoutSeconds"),
    )
    causes = _watch_causes(options) if options.watch else _list_causes(options)
    if causes:
        raise invalid("ListOptions", "meta.k8s.io", "", causes)
    if not options.watch:
        check_version(options.resource_version)
    return options


def check_version(version: str) -> None:
    """Raises ApiError 400 for a resourceVersion that is no number."""
    if version and not version.isdigit():
        why = f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
        raise bad_request(f"invalid resource version: resourceVersion: {why}")


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _unsupported_match(match: str, *supported: str) -> Cause:
    listed = ", ".join(f'"{value}"' for value in supported)
    text = f'Unsupported value: "{match}": supported values: {listed}'
    return Cause("FieldValueNotSupported", text, "resourceVersionMatch")


def _list_causes(options: ListOptions) -> list[Cause]:
    causes = []
    if options.match:
        if not options.resource_version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(_forbidden("resourceVersionMatch", why))
        if options.continue_:
            why = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(_forbidden("resourceVersionMatch", why))
        if options.match not in (EXACT, NOT_OLDER):
            causes.append(_unsupported_match(options.match, EXACT, NOT_OLDER, ""))
        if options.match == EXACT and options.resource_version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(_forbidden("resourceVersionMatch", why))
    if options.initial_events is not None:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(options: ListOptions) -> list[Cause]:
    causes = []
    if options.initial_events is not None and options.match != NOT_OLDER:
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(_forbidden("resourceVersionMatch", why))
    if options.match:
        if options.initial_events is None:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(_forbidden("resourceVersionMatch", why))
        if options.match != NOT_OLDER:
            causes.append(_unsupported_match(options.match, NOT_OLDER))
        if options.continue_:
            why = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(_forbidden("resourceVersionMatch", why))
    return causes
