"""One client that asks, waits and asks again."""

import socket
import threading

import pytest

from benchmarks.harness import alone


def answer_once_per_connection(listening: socket.socket, connections: int) -> None:
    """Says that a connection is kept, and closes it after an answer, as a service does with one that was idle long."""
    for _ in range(connections):
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def test_a_connection_that_was_idle_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "IDLE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=answer_once_per_connection, args=(listening, 2))
        server.start()
        client = alone.Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert client.get("/") == client.get("/") == {}
        client.close()
        server.join(10)
    assert not server.is_alive()


def test_what_is_slow_is_measured_fewer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def measure() -> float:
        nonlocal clock
        clock += 2
        return clock

    monkeypatch.setattr("time.monotonic", lambda: clock)
    assert alone.repeat(measure, 30) == [2, 4, 6]
    assert alone.repeat(measure, 1) == [8]
