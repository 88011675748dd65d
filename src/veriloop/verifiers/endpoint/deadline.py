"""A time limit for a whole request: httpx2 has one for each read, and a server may drip."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

# An option of a socket, as httpcore2 has it.
Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Clock:
    """When the request of each thread must be over.

    >>> clock = Clock()
    >>> clock.start(60.0)
    >>> clock.left(5.0), clock.left(None) <= 60.0
    (5.0, True)
    """

    def __init__(self) -> None:
        self._end = threading.local()

    def start(self, seconds: float) -> None:
        """Give this thread's next request so many seconds in all."""
        self._end.time = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float:
        """Return the seconds that the next step may take.

        timeout: those that it may take by itself.

        Raises:
            httpcore2.ReadTimeout: if none are left.
        """
        left: float = self._end.time - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the request is over")
        if timeout is None:
            return left
        return min(timeout, left)


class _Stream(httpcore2.NetworkStream):
    """A connection whose every step ends when the request must be over."""

    def __init__(self, stream: httpcore2.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._clock.left(timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._clock)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Network(httpcore2.NetworkBackend):
    """Makes such connections."""

    def __init__(self, network: httpcore2.NetworkBackend, clock: Clock) -> None:
        self._network = network
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._clock.left(timeout)
        made = self._network.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(made, self._clock)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._clock.left(timeout)
        return _Stream(self._network.connect_unix_socket(path, left, socket_options), self._clock)

    def sleep(self, seconds: float) -> None:
        self._network.sleep(self._clock.left(seconds))


def keep_time(client: httpx2.Client) -> Clock:
    """Make all connections of a client keep the clock that is returned.

    httpx2 has no argument for this, so it is put into the pools of its transports, those of proxies
    too.

    Raises:
        AttributeError: if httpx2 has changed, and nothing would keep the time.
    """
    clock = Clock()
    within: Any = client
    for transport in (within._transport, *within._mounts.values()):
        if transport is not None:  # of an address that goes through no proxy
            pool = transport._pool
            pool._network_backend = _Network(pool._network_backend, clock)
    return clock
