"""The metrics of the workers. Each has a number that names its files, and the worker that replaces it continues them."""

from __future__ import annotations

import contextlib
import logging
from itertools import count

from stowage.app.metrics import Metrics
from stowage.app.server.arbiter import Arbiter
from stowage.app.server.worker import Worker
from stowage.app.settings import Config

_log = logging.getLogger(__name__)


def start_metrics(config: Config) -> Metrics | None:
    """The metrics, if they are wanted and there is space for their files."""
    if not config.has_metrics:
        return None
    try:
        metrics = Metrics(config.root)
        for slot in range(config.workers):
            metrics.prepare_worker(slot)
    except OSError as exc:
        _log.warning("there are no metrics, since their files cannot be created: %s", exc.strerror or exc)
        return None
    return metrics


def give_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Give a worker a number that no other has."""
    taken = {each.slot for each in arbiter.WORKERS.values()}
    worker.slot = next(slot for slot in count() if slot not in taken)
    if metrics := arbiter.app.metrics:
        with contextlib.suppress(OSError):  # one more worker than at the start, and no space for its files
            metrics.prepare_worker(worker.slot)


def take_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Write the metrics of this process under that number from now on."""
    if metrics := arbiter.app.metrics:
        metrics.begin_worker(worker.slot)


def free_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Note that a worker has ended; another one will replace it."""
    if metrics := arbiter.app.metrics:
        metrics.end_worker(worker.slot)
