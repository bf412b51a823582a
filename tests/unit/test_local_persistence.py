"""The store after a restart: everything acknowledged is there, and versions never go back."""

from __future__ import annotations

from pathlib import Path

import pytest

from insource.env import system_env
from insource.local.persistence import JOURNAL, DamagedDataError, Persistence
from insource.local.store import Store
from tests.unit.local_widgets import CRDS, NAMESPACES, WIDGETS, widget, widget_crd


def opened(directory: Path) -> Store:
    """A store as a killed process leaves it: its Persistence is never closed."""
    store = Store(system_env())
    persistence = Persistence(store, directory)
    persistence.open()
    store.persistence = persistence  # type: ignore[attr-defined]  # kept alive with the store
    return store


def closed(store: Store) -> None:
    store.persistence.close()  # type: ignore[attr-defined]


def filled(directory: Path) -> Store:
    store = opened(directory)
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(CRDS, widget_crd())
    store.create(WIDGETS, widget("a"), "ns")
    store.create(WIDGETS, widget("b"), "ns")
    store.delete(WIDGETS, "ns", "b")
    return store


def test_a_restart_keeps_objects_kinds_and_versions(tmp_path: Path) -> None:
    before = filled(tmp_path)
    after = opened(tmp_path)
    assert after.get(WIDGETS, "ns", "a") == before.get(WIDGETS, "ns", "a")
    assert after.find(WIDGETS, "ns", "b") is None
    assert after.resource_version > before.resource_version
    closed(before)
    closed(after)


def test_an_old_watch_is_told_to_list_again(tmp_path: Path) -> None:
    before = filled(tmp_path)
    version = before.list(WIDGETS).resource_version
    after = opened(tmp_path)
    (event,) = after.watch(WIDGETS, resource_version=version).drain()
    assert event.object["code"] == 410
    closed(before)
    closed(after)


def test_a_torn_last_line_was_never_acknowledged(tmp_path: Path) -> None:
    closed(filled(tmp_path))
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"rv": 99, "key": ["", "na')
    after = opened(tmp_path)
    assert after.get(WIDGETS, "ns", "a")
    closed(after)


def test_damage_elsewhere_is_not_passed_over(tmp_path: Path) -> None:
    closed(filled(tmp_path))
    path = tmp_path / JOURNAL
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(DamagedDataError, match="line 1"):
        opened(tmp_path)


def test_a_collection_that_a_kill_interrupted_is_finished(tmp_path: Path) -> None:
    store = filled(tmp_path)
    owner = store.get(WIDGETS, "ns", "a")
    reference = {"apiVersion": "v1", "kind": "Widget", "name": "a", "uid": owner["metadata"]["uid"]}
    store.create(("", "configmaps"), {"metadata": {"name": "child", "ownerReferences": [reference]}}, "ns")
    # The kill: the owner's removal is in the journal, what follows from it is not.
    store.state.remove((WIDGETS, "ns", "a"), owner)
    closed(store)
    after = opened(tmp_path)
    assert after.find(("", "configmaps"), "ns", "child") is None
    closed(after)
