"""Watches: from where they start, how they end, and what a selector makes of a change."""

from __future__ import annotations

from tests.contract.observed.listing import five
from tests.contract.observed.observer import TABLE, Observer, short

_OURS = "labelSelector=e%3Dx"


def watches(o: Observer) -> None:
    five(o)
    o.delete(f"{o.configmaps}/p4")
    watch = f"{o.configmaps}?watch=1"
    initial = f"{watch}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&{_OURS}"
    o.see("watch-rv0", short(o.watch(f"{watch}&resourceVersion=0&{_OURS}", 4)))
    o.see("watch-no-rv", short(o.watch(f"{watch}&{_OURS}", 4)))
    version = o.get(o.configmaps).body["metadata"]["resourceVersion"]
    o.see("watch-latest", short(o.watch(f"{watch}&resourceVersion={version}", 0)))
    o.see("watch-old-rv1", short(o.watch(f"{watch}&resourceVersion=1&{_OURS}", 6)))
    o.see("watch-future", short(o.watch(f"{watch}&resourceVersion=999999999", 0)))
    o.see("watchlist", short(o.watch(f"{initial}&allowWatchBookmarks=true", 5)))
    o.see("watchlist-nobookmarks", short(o.watch(initial, 4)))
    o.see("watchlist-nomatch", short(o.watch(f"{watch}&sendInitialEvents=true", 1)))
    events = o.watch(f"{initial}&allowWatchBookmarks=true", 5)
    o.see("bookmark-body", [event for event in events if isinstance(event, dict) and event["type"] == "BOOKMARK"])
    o.see("watch-timeout", short(o.watch(f"{watch}&timeoutSeconds=1&resourceVersion={version}", 1)))

    def act() -> None:
        o.merge(f"{o.configmaps}/p1", {"metadata": {"labels": {"e": "y"}}})
        o.merge(f"{o.configmaps}/p1", {"metadata": {"labels": {"e": "x"}}})
        o.delete(f"{o.configmaps}/p2")
        o.merge(f"{o.configmaps}/p3", {"data": {"k": "v"}})

    since = f"{watch}&resourceVersion={version}"
    o.see("watch-selector-transitions", short(o.watch(f"{since}&{_OURS}", 4, act=act)))
    deleted = [event for event in o.watch(since, 4) if isinstance(event, dict) and event["type"] == "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) > int(version) for event in deleted]
    o.see("deleted-rv-newer", versions)
    rows = [
        [
            event["type"],
            event["object"]["kind"],
            len(event["object"].get("columnDefinitions") or []),
            [row.get("object", {}).get("kind") for row in event["object"]["rows"]],
        ]
        for event in o.watch(since, 4, accept=TABLE)
        if isinstance(event, dict)
    ]
    o.see("watch-table", rows)
