"""The metrics of the service, in Prometheus' format; docs/metrics.md describes each.

Every process of the service writes its own files, mapped into memory, and the worker that gets the request adds them up. What is in the
store is read at that time.

A write to mapped memory for which the disk has no block ends the process (SIGBUS). So the files are in memory, where the store takes no
space, or else in the root, and all of their space is allocated before anyone maps them. A worker that replaces another one continues its
files, so there are never more than `stowage serve` starts with.

Labels have few values: a route is named by its rule, never by a path, and only the first few registries with
which an operation has succeeded are named. Labels on the hot path are looked up once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stowage.blueprints.log_entry import CLIENT_LEFT, CUT_OFF, ENDED, FAILED, OK, REFUSED, LogEntry
from stowage.blueprints.routing import Route
from stowage.services.errors import Internal, OutOfSpace, Unavailable
from stowage.services.system.readiness import Totals
from stowage.services.system.version import VERSION

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram
    from prometheus_client.metrics_core import Metric

METRICS = "stowage.metrics"
"""Key of the application's extensions: its Metrics, or None."""

_MEMORY = Path("/dev/shm")
_SIZES = {"counter": 1 << 20, "histogram": 1 << 20, "gauge_livesum": 1 << 16}
"""Bytes of a process's files, more than all the values that there can be: labels are bounded."""
_PARENT = "parent"
"""The process that starts the workers, as a name of a process."""
_REGISTRIES = 20
"""How many registries each process names; others are `other`."""
_FRESH_SECONDS = 10.0
"""How long the totals of the store are reused."""
_OTHER = "other"
_OPERATIONS = {"pull": _OTHER, "push": _OTHER, "load": "", "save": "", "import": ""}
_TRANSACTIONS = ("read", "write")
_CALLS = ("commit", "publish", "open", "delete")
_STORE_ERRORS = (Internal, OutOfSpace, Unavailable)
_QUICK = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)
_LONG = (0.1, 0.5, 2.5, 10, 60, 300, 1800)
"""Upper limits of the buckets of histograms, in seconds."""


class Metrics:
    """All metrics; made in the parent of the workers, once."""

    def __init__(self, root: Path) -> None:
        """Make the files. Raises OSError if there is no space for them."""
        self.folder = _make_folder(root)
        _allocate(self.folder, _PARENT)
        self._process = _PARENT
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)  # read when prometheus_client is imported
        from prometheus_client import CollectorRegistry, values

        values.ValueClass = self._values = values.MultiProcessValue(lambda: self._process)  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._declare()
        self._transactions = {transaction: self._database.labels(transaction) for transaction in _TRANSACTIONS}
        self._calls = {call: self._content.labels(call) for call in _CALLS}
        self._requests: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._named: set[str] = set()
        self._totals: Totals | None = None
        self._read_at = 0.0

    def _declare(self) -> None:
        self._requests_total = self._counter("http_requests", "Requests answered", "route", "method", "status")
        self._request_seconds = self._histogram("http_request_seconds", "Until the end of the answer", _QUICK, "route", "method")
        self._operations = self._counter("operations", "Operations ended", "operation", "outcome", "registry")
        self._operation_bytes = self._counter("operation_bytes", "Bytes moved", "operation", "outcome", "registry")
        self._operation_seconds = self._histogram("operation_seconds", "Duration", _LONG, "operation", "outcome")
        self._pulled_blobs = self._counter("pulled_blobs", "Blobs that pulls needed", "source")
        self._retries = self._counter("transfer_retries", "Tries after a failure", "operation")
        self._resumes = self._counter("transfer_resumes", "Transfers continued", "operation")
        self._database = self._histogram("database_seconds", "Duration", _QUICK, "transaction")
        self._database_errors = self._counter("database_errors", "Failures", "transaction", "error")
        self._content = self._histogram("content_seconds", "Duration", _QUICK, "call")
        self._content_errors = self._counter("content_errors", "Failures", "call", "error")
        self._sweeps = self._counter("sweeps", "Sweeps ended")
        self._removed = self._counter("removed_blobs", "Blobs and partials removed")
        self._removed_bytes = self._counter("removed_bytes", "Bytes removed")
        self._restarts = self._counter("worker_restarts", "Workers replaced")
        self._workers = self._gauge("workers", "Workers")
        self._threads = self._gauge("threads", "Threads for requests", "kind")
        self._busy = self._gauge("threads_busy", "Threads in use", "kind")
        self._waiting = self._gauge("requests_waiting", "Requests without a thread", "kind")
        self._connections = self._gauge("connections", "Connections", "door")
        self._listeners = self._gauge("event_listeners", "Clients that listen to events")

    def request(self, route: Route | None, method: str, status: str, seconds: float) -> None:
        """Note an answer. Without a route the method may be anything."""
        key = (route.rule, method, status) if route else ("", "", status)
        known = self._requests.get(key)
        if known is None:
            labels = (route.plain_path, method) if route else ("none", "any")
            known = self._requests_total.labels(*labels, status), self._request_seconds.labels(*labels)
            self._requests[key] = known
        known[0].inc()
        known[1].observe(seconds)

    def operation(self, entry: LogEntry, outcome: str, seconds: float, moved: int) -> None:
        """Note the end of a stream."""
        labels = (entry.operation, outcome, self._registry_label(entry.registry, outcome))
        self._operations.labels(*labels).inc()
        self._operation_bytes.labels(*labels).inc(moved)
        self._operation_seconds.labels(*labels[:2]).observe(seconds)
        if (tally := entry.tally) and entry.registry:
            self._pulled_blobs.labels("store").inc(tally.reused)
            self._pulled_blobs.labels("registry").inc(tally.fetched)
            self._retries.labels(entry.operation).inc(tally.retries)
            self._resumes.labels(entry.operation).inc(tally.resumes)

    def _registry_label(self, registry: str, outcome: str) -> str:
        """Clients can make up names, so a registry is named only once an operation with it has succeeded."""
        if registry and registry not in self._named:
            if outcome != OK or len(self._named) >= _REGISTRIES:
                return _OTHER
            self._named.add(registry)
        return registry

    def database_call(self, transaction: str, seconds: float, error: str) -> None:
        """Note a transaction, `read` or `write`."""
        self._transactions[transaction].observe(seconds)
        if error:
            self._database_errors.labels(transaction, error).inc()

    def content_call(self, call: str, seconds: float, error: str) -> None:
        """Note a call of the content store."""
        self._calls[call].observe(seconds)
        if error:
            self._content_errors.labels(call, error).inc()

    def removed(self, size: int) -> None:
        """Note that a blob or a partial was removed."""
        self._removed.inc()
        self._removed_bytes.inc(size)

    def swept(self) -> None:
        """Note that a sweep has ended."""
        self._sweeps.inc()

    def load(self, threads: Mapping[str, tuple[int, int, int]], connections: Mapping[str, int], listeners: int) -> None:
        """Note how busy this worker is: per kind of request, all threads, those in use and the requests that wait for one."""
        for kind, (count, busy, waiting) in threads.items():
            self._threads.labels(kind).set(count)
            self._busy.labels(kind).set(busy)
            self._waiting.labels(kind).set(waiting)
        for door, count in connections.items():
            self._connections.labels(door).set(count)
        self._listeners.set(listeners)

    def prepare_worker(self, slot: int) -> None:
        """Called in the parent before it forks a worker; raises OSError."""
        _allocate(self.folder, str(slot))

    def begin_worker(self, slot: int) -> None:
        """Called in a new worker. It continues the files of the one that it replaces."""
        self._process = str(slot)
        self._workers.set(1)
        self._named = self._named_before()
        self._begin_at_zero()

    def _named_before(self) -> set[str]:
        """The registries that are named in this process's file."""
        from prometheus_client.mmap_dict import MmapedDict

        values = MmapedDict.read_all_values_from_file(self.folder / f"counter_{self._process}.db")  # type: ignore[no-untyped-call]
        return {json.loads(key)[2].get("registry", "") for key, *_ in values} - {"", _OTHER}

    def _begin_at_zero(self) -> None:
        """Show what is rare before it happens: Prometheus does not see an increase from nothing to one."""
        for error in _STORE_ERRORS:
            for transaction in _TRANSACTIONS:
                self._database_errors.labels(transaction, error.__name__)
            for call in _CALLS:
                self._content_errors.labels(call, error.__name__)
        for operation, registry in _OPERATIONS.items():
            for outcome in (OK, FAILED, CLIENT_LEFT, CUT_OFF, ENDED, REFUSED):
                self._operations.labels(operation, outcome, registry)
                self._operation_bytes.labels(operation, outcome, registry)
                self._operation_seconds.labels(operation, outcome)
        for operation in ("pull", "push"):
            self._retries.labels(operation)
            self._resumes.labels(operation)
        for source in ("store", "registry"):
            self._pulled_blobs.labels(source)

    def end_worker(self, slot: int) -> None:
        """Called in the parent when a worker has ended and is going to be replaced."""
        _mark_dead(self.folder, str(slot))
        self._restarts.inc()

    def close(self) -> None:
        """Close and remove the files."""
        self._values.close_all_files()
        shutil.rmtree(self.folder, ignore_errors=True)

    def exposition(self, read_totals: Callable[[], Totals], *, ready: bool) -> bytes:
        """All metrics as text; `read_totals` reads the store, and is called at most every _FRESH_SECONDS."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if self._totals is None or time.monotonic() >= self._read_at + _FRESH_SECONDS:
            self._totals, self._read_at = read_totals(), time.monotonic()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.folder))  # type: ignore[no-untyped-call]
        registry.register(_Now(self._totals, ready))
        return generate_latest(registry)

    def names(self) -> set[str]:
        """The names of all metrics, as they are exposed."""
        written = {metric.name + ("_total" if metric.type == "counter" else "") for metric in self._registry.collect()}
        return written | {metric.name for metric in _Now(Totals(None, None, 0), ready=False).collect()}

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        from prometheus_client import Counter

        return Counter(f"stowage_{name}", help_, labels, registry=self._registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        from prometheus_client import Histogram

        return Histogram(f"stowage_{name}", help_, labels, registry=self._registry, buckets=buckets)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        from prometheus_client import Gauge

        return Gauge(f"stowage_{name}", help_, labels, registry=self._registry, multiprocess_mode="livesum")


class _Now:
    """Collects current values: whether the service is ready, and what is in the store. What could not be read has no value."""

    def __init__(self, totals: Totals, ready: bool) -> None:
        self._totals, self._ready = totals, ready

    def collect(self) -> Iterator[Metric]:
        rows = self._totals.rows
        yield _gauge("ready", "Whether /readyz answers 200", int(self._ready))
        yield _gauge("info", "The version", {VERSION: 1}, label="version")
        yield _gauge("leases", "Leases", rows.leases if rows else {}, label="state")
        yield _gauge("last_sweep_timestamp_seconds", "When the last sweep ended", rows.swept_at if rows else None)
        yield _gauge("store_images", "Images", rows.images if rows else None)
        yield _gauge("store_blobs", "Blobs", rows.blobs if rows else None)
        yield _gauge("store_blob_bytes", "Bytes of blobs", rows.bytes if rows else None)
        yield _gauge("store_free_bytes", "Bytes free for blobs", self._totals.free)
        yield _gauge("store_least_free_bytes", "STOWAGE_LEAST_FREE", self._totals.least_free)


def _gauge(name: str, help_: str, value: int | Mapping[str, int] | None, label: str = "") -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(f"stowage_{name}", help_, labels=[label] if label else [])
    for text, count in value.items() if isinstance(value, Mapping) else [("", value)]:
        if count is not None:
            family.add_metric([text] if label else [], count)
    return family


def _make_folder(root: Path) -> Path:
    """Make an empty folder for the service of this root, for its user alone; raises OSError."""
    name = f"stowage-{os.geteuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"
    for folder in (_MEMORY / name, root / "metrics"):
        if os.access(folder.parent, os.W_OK | os.X_OK) and _is_free(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            return folder
    raise PermissionError(f"neither {_MEMORY} nor {root} can be written")


def _allocate(folder: Path, process: str) -> None:
    """Make the files of a process, unless it continues those of another one; raises OSError if there is no space."""
    for kind, size in _SIZES.items():
        path = folder / f"{kind}_{process}.db"
        if not path.exists():
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)


def _mark_dead(folder: Path, process: str) -> None:
    """Clear what a process has said of itself, such as how busy it is. Unlike prometheus_client's function this keeps the space."""
    path = folder / f"gauge_livesum_{process}.db"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def _is_free(folder: Path) -> bool:
    """Whether nothing is there but what an earlier service has left: /dev/shm is open to all users, who may have taken the name."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
