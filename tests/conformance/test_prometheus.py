"""A real Prometheus collects the metrics: the shipped dashboard has values everywhere, and each alert is raised when it should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import Layout, make_layer
from tests.conformance.conftest import REPOSITORY, Service, needs, wait_for
from tests.conformance.test_edges import CLOSE, exchange, head
from tests.ports import free_port
from tests.waiting import poll

ALERTS = REPOSITORY / "deploy" / "alerts.yml"
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana.json").read_text())
TARGETS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


class Prometheus:
    """A running Prometheus that collects from one service every second."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._base}/query?{asked}", timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def rules(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._base}/rules", timeout=20) as answer:
            return [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Prometheus]:
    """Prometheus, after a load, a push, a delete, two pulls, a pull that failed, a save and a prune."""
    needs("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    service = Service(folder / "stowage", free_port(), {"STOWAGE_HEALTH_BIND": f"127.0.0.1:{free_port()}"})
    service.start()
    try:
        with collecting(folder, service.environment["STOWAGE_HEALTH_BIND"]) as prometheus:
            poll(lambda: prometheus.query("stowage_ready"))
            drive(service, registry, folder)
            poll(
                lambda: [each["value"][1] for each in prometheus.query('stowage_operations_total{operation="save",outcome="ok"}')] == ["1"]
            )
            poll(lambda: prometheus.query("sum(increase(stowage_removed_bytes_total[1m])) > 0"))
            yield prometheus
    finally:
        service.stop()


@contextmanager
def collecting(folder: Path, target: str) -> Iterator[Prometheus]:
    """Prometheus while it collects from this address."""
    port = free_port()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "stowage", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(lambda: is_ready(port), process, f"prometheus (log: {folder}/prometheus.log)")
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=20) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def drive(service: Service, registry: str, folder: Path) -> None:
    name = f"{registry}/watched:1"
    layout = Layout()
    layout.tag(layout.image([make_layer("watched", 1 << 20)], compression="none"), name)
    service.docker("load", stdin=layout.to_tar())
    service.docker("push", "-q", name)
    service.docker("rmi", name)
    service.docker("pull", "-q", name)
    service.docker("pull", "-q", name)
    assert service.docker("pull", "localhost:1/nope:1", check=False).returncode != 0
    service.docker("save", "-o", str(folder / "saved.tar"), name)
    service.docker("image", "prune", "-af")
    for _ in range(20):
        exchange(service, head("GET", "/_ping", CLOSE))


@pytest.mark.parametrize("expression", TARGETS, ids=[panel["title"] for panel in DASHBOARD["panels"] for _ in panel["targets"]])
def test_every_expression_of_the_dashboard_has_values(driven: Prometheus, expression: str) -> None:
    asked = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
    # A rate needs two collections.
    poll(lambda: {each["value"][1] for each in driven.query(asked)} - {"NaN"})


def test_every_metric_but_few_is_shown(driven: Prometheus) -> None:
    shown = set(re.findall(r"stowage_\w+", " ".join(TARGETS)))
    collected = {each["metric"]["__name__"] for each in driven.query('{__name__=~"stowage_.*"}')}
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in collected}
    assert bare - {re.sub("_bucket$", "", name) for name in shown} == set()


def test_what_was_done_is_counted(driven: Prometheus, registry: str) -> None:
    counted = driven.query("stowage_operations_total > 0")
    found = {
        (each["metric"]["operation"], each["metric"]["outcome"], each["metric"].get("registry", "")): each["value"][1] for each in counted
    }
    assert found == {
        ("load", "ok", ""): "1",
        ("push", "ok", registry): "1",
        ("pull", "ok", registry): "2",
        ("pull", "failed", "other"): "1",
        ("save", "ok", ""): "1",
    }
    assert float(driven.query(f'stowage_operation_bytes_total{{operation="pull",registry="{registry}"}}')[0]["value"][1]) > 1 << 20


def test_the_alerts_are_accepted_and_none_is_raised(driven: Prometheus) -> None:
    rules = driven.rules()
    assert [rule["name"] for rule in rules] == [rule["alert"] for rule in RULES]
    poll(lambda: all(rule["health"] == "ok" for rule in driven.rules()))
    assert [rule["name"] for rule in driven.rules() if rule["state"] == "firing"] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_reads_metrics_that_there_are(driven: Prometheus, rule: dict[str, Any]) -> None:
    for name in set(re.findall(r"stowage_\w+", rule["expr"])):
        assert driven.query(name), name


def test_each_alert_is_raised_when_it_should_be(tmp_path: Path) -> None:
    needs("promtool")
    shutil.copy(ALERTS, tmp_path / "alerts.yml")
    test = (Path(__file__).parent / "alerts_test.yml").read_text()
    (tmp_path / "test.yml").write_text(test)
    assert {rule["alert"] for rule in RULES} == set(re.findall(r"alertname: (\w+)", test))
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
