"""`stowage push-all`: push every image to another registry."""

from __future__ import annotations

from argparse import Namespace
from contextlib import closing
from dataclasses import replace

from stowage.app.docker_login import read_login
from stowage.app.settings import Config
from stowage.app.terminal import ProgressLine, shown_share
from stowage.app.wiring import open_engine
from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.images.push import push_image
from stowage.services.images.push_all import PlannedPush, PushDestination, plan_pushes
from stowage.services.meter import Tally
from stowage.services.progress import Progress
from stowage.services.registry.credentials import Credentials
from stowage.services.system.transfers import Running, Transfers


def push_all(config: Config, options: Namespace) -> int:
    """Push one image after the other. A failed one is reported and the others are still pushed; then the status is 1."""
    destination = PushDestination.parse(options.to)
    credentials = read_login(destination.domain)
    with open_engine(config) as engine, ProgressLine() as line:
        transfers = Transfers(lambda: engine.board)
        planned, failed = plan_pushes(engine, destination, options.patterns), 0
        for number, push in enumerate(planned, 1):
            try:
                note = _push(engine, push, credentials, transfers, line, f"{number} of {len(planned)}")
                line.print(f"pushed {push.name.familiar} to {push.to.familiar}{note}")
            except EngineError as exc:
                line.complain(f"{push.name.familiar} was not pushed: {exc}")
                failed += 1
    print(f"{len(planned) - failed} pushed, {failed} failed" if failed else f"{len(planned)} pushed")
    return 1 if failed else 0


def _push(engine: Engine, push: PlannedPush, credentials: Credentials | None, transfers: Transfers, line: ProgressLine, count: str) -> str:
    """Push an image, which is one of the transfers that the service shows meanwhile; returns what is to be noted of it."""
    tally, note = Tally(), ""
    running = Running(
        "push",
        tally.parts,
        names=[push.to.familiar],
        count=lambda: 1,
        received=lambda: 0,
        registry=push.to.domain,
        client="stowage push-all",
    )
    stream = push_image(replace(engine, tally=tally), push.name, to=push.to, credentials=credentials)
    with transfers.running(running), closing(stream):
        for progress in stream:
            running.check()
            line.show(f"{count}: {push.name.familiar} {_shown(progress)}")
            if progress.aux and "manifestPushedInsteadOfIndex" in progress.aux:
                note = " (only the platform that is here)"
    return note


def _shown(progress: Progress) -> str:
    detail = progress.detail
    share = shown_share(detail.current, detail.total) if detail and detail.total else ""
    return f"{progress.id} {progress.status} {share}".strip()
