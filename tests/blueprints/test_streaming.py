"""Progress lines and tars."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response

from stowage.blueprints import streaming
from stowage.blueprints.client import COMPUTING, LOCAL_SHARE, compute, places, while_connected, while_wanted
from stowage.blueprints.log_entry import CLIENT_LEFT, log_entry
from stowage.blueprints.streaming import LISTENERS, SERVING, stream_live, stream_progress, stream_tar
from stowage.services.errors import Conflict, Disconnected, InvalidContent, Unavailable
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.operations import current_operation


def answer(app: Flask, stream: Callable[[], Response], **environ: Any) -> Response:
    with app.test_request_context(environ_overrides=environ):
        return stream()


def lines(response: Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.get_data().split(b"\r\n") if line]


def giving(*items: Progress) -> ProgressStream:
    yield from items


def failing(error: Exception, *before: Progress) -> ProgressStream:
    yield from before
    raise error


@pytest.mark.parametrize(
    ("item", "line"),
    [
        pytest.param(Progress(status="Pulling from x", id="1.0"), '{"status":"Pulling from x","id":"1.0"}', id="status"),
        pytest.param(Progress(stream="Loaded image: a\n"), '{"stream":"Loaded image: a\\n"}', id="stream"),
        pytest.param(
            Progress(status="Waiting", id="a", detail=Detail()), '{"status":"Waiting","progressDetail":{},"id":"a"}', id="empty detail"
        ),
        pytest.param(
            Progress(status="Downloading", id="a", detail=Detail(current=1, total=2)),
            '{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a"}',
            id="bytes",
        ),
        pytest.param(
            Progress(status="Extracting", id="a", detail=Detail(current=1, units="s", hide_counts=True)),
            '{"status":"Extracting","progressDetail":{"current":1,"hidecounts":true,"units":"s"},"id":"a"}',
            id="units",
        ),
        pytest.param(Progress(aux={"Tag": "x"}), '{"aux":{"Tag":"x"}}', id="aux"),
        pytest.param(Progress(status="<é & ü>"), '{"status":"<é & ü>"}', id="beyond ASCII"),
    ],
)
def test_an_item_is_a_line_in_the_shape_of_moby(app: Flask, item: Progress, line: str) -> None:
    response = answer(app, lambda: stream_progress(giving(item)))
    assert response.get_data().decode() == line + "\r\n"
    assert response.content_type == "application/json"


def test_a_tick_writes_nothing(app: Flask) -> None:
    response = answer(app, lambda: stream_progress(giving(Progress(), Progress(status="a"), Progress())))
    assert lines(response) == [{"status": "a"}]


def test_a_stream_of_nothing_is_an_empty_answer(app: Flask) -> None:
    assert answer(app, lambda: stream_progress(giving())).get_data() == b""


def test_an_error_before_the_first_item_is_left_to_become_a_status(app: Flask) -> None:
    with pytest.raises(Conflict):
        answer(app, lambda: stream_progress(failing(Conflict("no"))))


def test_an_error_before_the_first_item_is_a_line_where_the_endpoint_wants_it(app: Flask) -> None:
    response = answer(app, lambda: stream_progress(failing(Conflict("no")), errors_in_stream=True))
    assert lines(response) == [{"error": "no", "errorDetail": {"message": "no"}}]


@pytest.mark.parametrize(
    ("error", "words"),
    [pytest.param(InvalidContent("bad layer"), "bad layer", id="known"), pytest.param(KeyError("x"), "internal server error", id="defect")],
)
def test_an_error_after_the_first_item_is_the_last_line(app: Flask, error: Exception, words: str) -> None:
    response = answer(app, lambda: stream_progress(failing(error, Progress(status="a"))))
    assert lines(response) == [{"status": "a"}, {"error": words, "errorDetail": {"message": words}}]


class Watched:
    """A stream that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def progress(self, count: int) -> ProgressStream:
        try:
            for number in range(count):
                yield Progress(status=str(number))
        finally:
            self.closed = True

    def chunks(self) -> Iterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            self.closed = True


def test_closing_the_response_closes_the_progress_even_when_nothing_was_sent(app: Flask) -> None:
    watched = Watched()
    answer(app, lambda: stream_progress(watched.progress(3))).close()
    assert watched.closed


def test_closing_the_response_closes_the_tar(app: Flask) -> None:
    watched = Watched()
    answer(app, lambda: stream_tar(watched.chunks())).close()
    assert watched.closed


@pytest.mark.parametrize("sent", ["0", "2"])
def test_a_client_that_is_gone_ends_the_stream(app: Flask, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr(streaming, "_WATCH_SECONDS", 0.0)
    watched, (ours, theirs) = Watched(), socket.socketpair()
    with ours:
        environ = {"gunicorn.socket": ours, "CONTENT_LENGTH": sent}
        response = answer(app, lambda: stream_progress(watched.progress(1000)), **environ)
        body = response.iter_encoded()
        assert next(body) == b'{"status":"0"}\r\n'
        assert next(body) == b'{"status":"1"}\r\n'
        theirs.close()
        assert list(body) == []
        response.close()
    assert watched.closed


def test_a_client_that_sent_a_body_and_half_closed_is_not_gone(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_WATCH_SECONDS", 0.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        response = answer(app, lambda: stream_progress(Watched().progress(5), reads_body=True), **{"gunicorn.socket": ours})
        assert len(lines(response)) == 5


@pytest.fixture
def over_tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection, the server's first."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as theirs:
        ours, _ = listener.accept()
        with ours:
            yield ours, theirs


def ticks_while(going: Callable[[], bool], watched: Watched) -> ProgressStream:
    """Ticks, and one line at the end."""
    try:
        while going():
            yield Progress()
        yield Progress(status="done")
    finally:
        watched.closed = True


def sees(connection: socket.socket, event: int) -> None:
    poll = select.poll()
    poll.register(connection, event)
    assert poll.poll(10_000)


def test_a_client_that_has_sent_a_body_and_gone_ends_the_stream(app: Flask) -> None:
    watched, (ours, theirs) = Watched(), socket.socketpair()
    with ours:
        theirs.close()
        left = iter(range(1000))
        stream = ticks_while(lambda: next(left, None) is not None, watched)
        response = answer(app, lambda: stream_progress(stream, reads_body=True, errors_in_stream=True), **{"gunicorn.socket": ours})
        assert (response.get_data(), next(left)) == (b"", 1)
        response.close()
    assert watched.closed


def test_a_connection_that_is_reset_ends_the_stream(app: Flask, over_tcp: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = over_tcp
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    sees(ours, select.POLLHUP)
    response = answer(app, lambda: stream_progress(ticks_while(lambda: True, Watched()), reads_body=True), **{"gunicorn.socket": ours})
    assert response.get_data() == b""


def test_a_client_on_tcp_that_may_have_gone_is_sent_the_head_of_the_answer(
    app: Flask, over_tcp: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_WATCH_SECONDS", 0.0)
    ours, theirs = over_tcp
    theirs.close()
    sees(ours, select.POLLRDHUP)
    stream = ticks_while(lambda: True, watched := Watched())
    response = answer(app, lambda: stream_progress(stream, reads_body=True, errors_in_stream=True), **{"gunicorn.socket": ours})
    body = response.iter_encoded()
    assert next(body) == b""
    ours.sendall(b"HTTP/1.1 200 OK\r\n")
    sees(ours, select.POLLHUP)
    assert list(body) == []
    response.close()
    assert watched.closed


def test_a_client_on_tcp_that_closed_its_side_alone_hears_the_answer(app: Flask, over_tcp: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = over_tcp
    theirs.shutdown(socket.SHUT_WR)
    sees(ours, select.POLLRDHUP)
    left = iter(range(10))
    stream = ticks_while(lambda: next(left, None) is not None, Watched())
    response = answer(app, lambda: stream_progress(stream, reads_body=True, errors_in_stream=True), **{"gunicorn.socket": ours})
    assert lines(response) == [{"status": "done"}]


def test_a_tar_is_sent_as_it_is(app: Flask) -> None:
    response = answer(app, lambda: stream_tar(iter([b"ab", b"", b"c"])))
    assert (response.get_data(), response.content_type) == (b"abc", "application/x-tar")


def test_an_error_before_the_first_byte_of_a_tar_is_left_to_become_a_status(app: Flask) -> None:
    def chunks() -> Iterator[bytes]:
        raise Conflict("no")
        yield b""

    with pytest.raises(Conflict):
        answer(app, lambda: stream_tar(chunks()))


def test_an_error_in_a_tar_reaches_the_server_which_cuts_the_connection(app: Flask) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise InvalidContent("lost")

    body = answer(app, lambda: stream_tar(chunks())).iter_encoded()
    assert next(body) == b"a"
    with pytest.raises(ConnectionResetError):  # which gunicorn does not log once more, with a traceback
        next(body)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live stream that does not wait between its looks."""
    monkeypatch.setattr(streaming, "_POLL_SECONDS", 0.0)


def forever(*pieces: bytes) -> Iterator[bytes]:
    yield from pieces
    while True:
        yield b""


@pytest.mark.usefixtures("quick")
def test_a_live_stream_begins_before_there_is_anything_to_tell(app: Flask) -> None:
    response = answer(app, lambda: stream_live(iter([b"", b"a", b"", b"b"]), "application/jsonl"))
    assert (list(response.iter_encoded()), response.content_type) == ([b"", b"a", b"", b"b"], "application/jsonl")


@pytest.mark.usefixtures("quick")
def test_a_client_that_is_gone_ends_a_live_stream_after_what_was_to_tell(app: Flask) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        response = answer(app, lambda: stream_live(forever(b"a", b"b"), "application/json"), **{"gunicorn.socket": ours})
        assert response.get_data() == b"ab"


@pytest.mark.usefixtures("quick")
def test_a_process_that_stops_ends_its_live_streams(app: Flask) -> None:
    app.extensions[SERVING] = lambda: False
    assert answer(app, lambda: stream_live(forever(b"a"), "application/json")).get_data() == b"a"


def test_an_error_before_a_live_stream_is_left_to_become_a_status(app: Flask) -> None:
    def pieces() -> Iterator[bytes]:
        raise Conflict("no")
        yield b""

    with pytest.raises(Conflict):
        answer(app, lambda: stream_live(pieces(), "application/json"))
    assert app.extensions[LISTENERS].taken == 0


@pytest.mark.parametrize("call", [while_connected, while_wanted, compute])
def test_the_result_and_the_error_are_those_of_what_was_called(app: Flask, call: Callable[[Callable[[], object]], object]) -> None:
    def fail() -> None:
        raise Conflict("words")

    with app.test_request_context():
        assert call(lambda: 42) == 42
        with pytest.raises(Conflict, match="words"):
            call(fail)


class TestWhileConnected:
    """What a view waits for."""

    def test_it_ends_when_the_client_goes(self, app: Flask) -> None:
        goes_on = threading.Event()
        ours, theirs = socket.socketpair()
        with ours, app.test_request_context(environ_overrides={"gunicorn.socket": ours}):
            theirs.close()
            with pytest.raises(Disconnected, match="the client has disconnected"):
                while_connected(lambda: goes_on.wait(20))
        assert not goes_on.is_set()
        goes_on.set()


class TestWhileWanted:
    """What a view computes."""

    @pytest.mark.parametrize("wait", [lambda plan: while_wanted(lambda: list(plan)), stream_tar], ids=["result", "first chunk of a tar"])
    def test_it_ends_at_the_next_check_when_the_client_goes(self, app: Flask, wait: Callable[[Iterator[bytes]], object]) -> None:
        ours, theirs = socket.socketpair()
        checks = 0

        def plan() -> Iterator[bytes]:
            nonlocal checks
            for checks in range(10):
                current_operation().check()
                if checks == 2:
                    theirs.close()
            yield b"planned"

        with ours, app.test_request_context(environ_overrides={"gunicorn.socket": ours}):
            with pytest.raises(Disconnected, match="the client has disconnected"):
                wait(plan())
            assert log_entry().fields["outcome"] == CLIENT_LEFT
        assert checks == 3


def test_few_requests_that_compute_run_at_once_and_the_others_wait_until_one_has_ended_or_their_client_goes(app: Flask) -> None:
    app.extensions[COMPUTING] = computing = places(2)
    ours, theirs = socket.socketpair()
    with ours, app.test_request_context(environ_overrides={"gunicorn.socket": ours}):
        assert compute(lambda: compute(lambda: computing.taken)) == 2
        assert computing.try_take(1) and computing.try_take(1)
        threading.Timer(0.3, computing.give_back, [1]).start()
        assert compute(lambda: computing.taken) == 2
        assert computing.try_take(1)
        theirs.close()
        with pytest.raises(Disconnected, match="the client has disconnected"):
            compute(lambda: 42)
        assert log_entry().fields["outcome"] == CLIENT_LEFT


def test_listeners_leave_threads_for_other_requests(app: Flask) -> None:
    app.extensions[LISTENERS] = places(2)
    first, _ = [answer(app, lambda: stream_live(forever(), "application/json")) for _ in range(2)]
    with pytest.raises(Unavailable, match="^too many clients are listening for events already"):
        answer(app, lambda: stream_live(forever(), "application/json"))
    first.close()
    first.close()
    answer(app, lambda: stream_live(forever(), "application/json")).close()


def test_listeners_over_tcp_leave_half_of_the_places_to_the_unix_socket(app: Flask) -> None:
    app.extensions[LISTENERS], app.extensions[LOCAL_SHARE] = places(4), True

    def listen(family: socket.AddressFamily) -> Response:
        with socket.socket(family) as connection, app.test_request_context(environ_overrides={"gunicorn.socket": connection}):
            return stream_live(forever(), "application/json")

    over_tcp = [listen(socket.AF_INET) for _ in range(2)]
    with pytest.raises(Unavailable, match="^too many clients are listening for events already"):
        listen(socket.AF_INET6)
    local = [listen(socket.AF_UNIX) for _ in range(2)]
    with pytest.raises(Unavailable, match="^too many clients are listening for events already"):
        listen(socket.AF_UNIX)
    over_tcp[0].close()
    local[0].close()
    listen(socket.AF_UNIX).close()
    listen(socket.AF_INET).close()


@pytest.mark.parametrize(("count", "remote"), [(1, 1), (2, 1), (3, 2), (16, 8)])
def test_clients_over_tcp_have_a_place_however_few_there_are(count: int, remote: int) -> None:
    all_places = places(count)
    assert [all_places.unreserved.try_take(1) for _ in range(count + 1)].count(True) == remote == all_places.taken
