"""Each program is scraped once, at the port where its metrics are, whichever monitors are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from insource.api import meta
from insource.domain.build.pod import adapter_container
from insource.domain.snapshot import Settings
from tests.charts.helm import Object, objects, rendered
from tests.charts.monitors import ADAPTERS, WAYS, monitors, of_chart, scraped

METRICS = [("gateway", 9901), ("ledger", 8080), ("operator", 8080)]


def chart(way: str, home: Path) -> list[Object]:
    return objects(rendered(home, *(word for value in WAYS[way] for word in ("--set", value))))


@pytest.mark.parametrize("way", WAYS)
def test_each_program_is_scraped_once(way: str, tmp_path: Path) -> None:
    found = chart(way, tmp_path)
    assert sorted(target for each in of_chart(found) for target in scraped(each, found)) == METRICS
    kinds = {each["kind"] for each in of_chart(found)}
    assert kinds == {"PodMonitor" if way == "pods" else "ServiceMonitor"}


@pytest.mark.parametrize("way", WAYS)
def test_adapters_are_scraped_by_their_pods_and_nothing_of_the_chart_with_them(way: str, tmp_path: Path) -> None:
    found = chart(way, tmp_path)
    theirs = [each for each in monitors(found) if each["spec"]["selector"]["matchLabels"] == ADAPTERS]
    assert len(theirs) == (way != "services")
    for each in theirs:
        (endpoint,) = each["spec"]["podMetricsEndpoints"]
        assert each["spec"]["namespaceSelector"] == {"any": True}
        ports = {port["name"] for port in adapter_container(Settings("image", "http://ledger"), [], [])["ports"]}
        assert endpoint["port"] in ports
        assert scraped(each, found) == []
    assert {meta.LABEL_MANAGED_BY: meta.MANAGED_BY} == ADAPTERS


def test_each_kind_of_monitor_has_values_of_its_own(tmp_path: Path) -> None:
    both = {each["metadata"]["name"]: each for each in monitors(chart("both", tmp_path))}
    assert both["insource-adapters"]["spec"]["podMetricsEndpoints"][0]["interval"] == "1m"
    assert both["insource-ledger"]["spec"]["endpoints"][0]["interval"] == "30s"
    (labels,) = {each["metadata"]["labels"].get("release") for each in monitors(chart("services", tmp_path))}
    assert labels == "prometheus"
