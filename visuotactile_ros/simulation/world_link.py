"""World link: how a simulated sensor learns what touches it, and the runner what the scale shows.

A server beside the simulated world answers on loopback TCP. A request is one line `{"read": "<name>"}`; the answer is
one line, `{"value": …}` or `{"error": "<text>"}`. Both sides refuse lines that are too long, are not strict JSON
(NaN included) or hold anything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import socketserver
import threading
import time
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from visuotactile_ros.errors import SensorError

MAX_REQUEST_BYTES = 256
MAX_ANSWER_BYTES = 65536

Record = TypeVar('Record')


def record_to_json(record: Any) -> dict[str, Any]:
    """Turn a frozen dataclass of numbers, strings, tuples and further such dataclasses into what JSON can carry."""
    return dataclasses.asdict(record)


def record_from_json(kind: type[Record], content: Any) -> Record:
    """Rebuild a frozen dataclass from what `record_to_json` made of it, strictly.

    Args:
        kind: The dataclass, for example ContactState.
        content: Decoded JSON.

    Raises:
        SensorError: A field is missing, unknown, or has the wrong type or length.
    """
    types = typing.get_type_hints(kind)
    if not isinstance(content, dict) or set(content) != set(types):
        found = ', '.join(sorted(content)) if isinstance(content, dict) else type(content).__name__
        raise SensorError(f'a {kind.__name__} of the simulated world has the fields {found}',
                          'Run world and sensors from the same version')
    return kind(**{name: _rebuild(types[name], value, f'{kind.__name__}.{name}') for name, value in content.items()})


def _rebuild(expected: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(expected):
        return record_from_json(expected, value)
    parts = typing.get_args(expected)
    if typing.get_origin(expected) is tuple and isinstance(value, list) and len(value) == len(parts):
        return tuple(_rebuild(part, item, name) for part, item in zip(parts, value, strict=True))
    if expected is float and type(value) in (int, float):
        return float(value)
    if type(value) is not expected:
        raise SensorError(f'{name} of the simulated world is {value!r}', 'Run world and sensors from the same version')
    return value


def _parse_line(line: bytes, limit: int) -> dict[str, Any]:
    """Decode one line of at most `limit` bytes; raises ValueError."""
    def refuse_constant(text: str) -> None:
        raise ValueError(f'{text} is not a number')
    if not line.endswith(b'\n'):
        raise ValueError(f'a line of more than {limit} bytes' if len(line) > limit else 'a line that breaks off')
    content = json.loads(line.decode('utf-8'), parse_constant=refuse_constant)
    if not isinstance(content, dict):
        raise ValueError(f'a {type(content).__name__} instead of an object')
    return content


class WorldLinkServer:
    """Answers reads of the simulated world on loopback.

    Args:
        readers: What each name answers: a function that returns JSON content (see `record_to_json`). It is called in
            the thread of a connection, so it locks what it shares.
        address: Loopback address, 127.x.x.x.
        port: TCP port; 0 takes a free one.

    Raises:
        SensorError: The port is taken.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Any]], address: str, port: int):
        self._readers = dict(readers)
        link = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                link._serve(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        try:
            self._server = Server((address, port), Handler)
        except OSError as error:
            raise SensorError(f'the world link cannot listen on {address}:{port}: {error.strerror}',
                              'Choose another world_link_port') from error
        # Other libraries of the process change the default timeout of sockets.
        self._server.socket.settimeout(None)
        self._connections: set[socket.socket] = set()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """TCP port it listens on."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Serve in a thread of its own until `close`."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name='world link', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, end every connection and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        handler.connection.settimeout(None)
        self._connections.add(handler.connection)
        try:
            while line := handler.rfile.readline(MAX_REQUEST_BYTES + 1):
                try:
                    answer = {'value': self._answer(_parse_line(line, MAX_REQUEST_BYTES))}
                except Exception as error:  # a failing reader is told to the client and must not end the link
                    answer = {'error': str(error) or type(error).__name__}
                handler.wfile.write(json.dumps(answer, allow_nan=False).encode() + b'\n')
                if not line.endswith(b'\n'):
                    return
        except OSError:
            return  # the client has gone
        finally:
            self._connections.discard(handler.connection)

    def _answer(self, request: dict[str, Any]) -> Any:
        if set(request) != {'read'} or request['read'] not in self._readers:
            raise ValueError(f'a request is {{"read": name}} with a name of {", ".join(sorted(self._readers))}')
        value = self._readers[request['read']]()
        json.dumps(value, allow_nan=False)
        return value


class WorldLinkClient:
    """Reads the simulated world; connects when needed and connects again after any fault.

    Args:
        address: Loopback address of the server.
        port: TCP port of the server.
        timeout_s: Longest wait for a connection or an answer, seconds.
    """

    def __init__(self, address: str, port: int, timeout_s: float = 1.0):
        self._server_address, self._timeout_s = (address, port), timeout_s
        self._socket: socket.socket | None = None
        self._lines: Any = None

    def wait_for_server(self, timeout_s: float) -> None:
        """Wait until the server accepts a connection.

        Raises:
            SensorError: It did not within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self._connect()
            except SensorError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)

    def read(self, name: str) -> Any:
        """Ask for the newest value of `name`.

        Raises:
            SensorError: The world does not answer, or answers with an error.
        """
        self._connect()
        try:
            self._socket.sendall(json.dumps({'read': name}).encode() + b'\n')
            line = self._lines.readline(MAX_ANSWER_BYTES + 1)
            if not line:
                raise ValueError('the end of the connection')
            answer = _parse_line(line, MAX_ANSWER_BYTES)
            if len(answer) != 1 or not set(answer) <= {'value', 'error'}:
                raise ValueError(f'an answer with {", ".join(sorted(answer)) or "nothing"}')
        except (OSError, ValueError) as error:
            self.close()
            raise SensorError(f'the simulated world on port {self._server_address[1]} gave {error}',
                              'Check that the simulated_world process runs') from error
        if 'error' in answer:
            raise SensorError(f'the simulated world cannot read {name!r}: {answer["error"]}',
                              'Check the name of the sensor and the log of the simulated_world process')
        return answer['value']

    def close(self) -> None:
        """Close the connection; the next read opens it again."""
        if self._socket is not None:
            self._lines.close()
            self._socket.close()
            self._socket = self._lines = None

    def _connect(self) -> None:
        if self._socket is not None:
            return
        try:
            self._socket = socket.create_connection(self._server_address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise SensorError(f'no simulated world answers on port {self._server_address[1]}: '
                              f'{error.strerror or error}',
                              'Start the simulated_world process, or set world_link_port to its port') from error
        self._lines = self._socket.makefile('rb')
