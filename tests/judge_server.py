"""A real HTTP server with a judge's endpoint, whose replies a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "a-judge"
DEAD_PROXY = "http://127.0.0.1:9"
"""Nothing listens there. What runs on this machine is reached without a proxy."""
Handler = BaseHTTPRequestHandler
Behaviour = Callable[[Handler, dict[str, Any], int], None]


class Server(ThreadingHTTPServer):
    """Keeps all requests. A test sets ``behave``, which gets the handler, the body, the call's
    number.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.behave: Behaviour = lambda handler, body, number: says(handler, honest(body))
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing: in some tests clients give up."""


class Answering(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.headers.append(dict(self.headers))
            number = len(self.server.bodies)
        self.server.behave(self, body, number)

    def log_message(self, format: str, *args: object) -> None:
        pass


def sends(handler: Handler, status: int, raw: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(raw)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(raw)


def completion(text: Any, finish_reason: str = "stop", tokens: int = 100) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": {"total_tokens": tokens}}).encode()


def says(handler: Handler, text: Any) -> None:
    sends(handler, 200, completion(text))


def shown(body: dict[str, Any]) -> tuple[str, list[str], str]:
    """Reads the judge's prompt: the candidate, the gold answers, the code of the verdict."""
    text = body["messages"][-1]["content"]
    lines = dict(line.split(": ", 1) for line in text.splitlines()[:3])
    golds = json.loads(lines["Reference answers, any of which is right"])
    return json.loads(lines["Candidate answer"]), golds, text.split()[-2]


def honest(body: dict[str, Any]) -> str:
    answer, golds, code = shown(body)
    same = answer.casefold() in [gold.casefold() for gold in golds]
    return f"verdict {code} {'right' if same else 'wrong'}"


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
