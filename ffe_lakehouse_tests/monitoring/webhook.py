"""A Slack-compatible webhook on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

PATH = "/services/T0SECRET/B0SECRET/x1y2z3SECRET"


@dataclass
class Webhook:
    """Takes what is posted to it, and answers as it is told to."""

    status: int = 200
    body: bytes = b"ok"
    location: str | None = None
    url: str = ""
    posted: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    go_on: Event = field(default_factory=Event)
    """It answers once this is set."""

    @property
    def texts(self) -> list[str]:
        """The texts of all alerts."""
        return [json.loads(body)["text"] for _, _, body in self.posted]


@contextmanager
def serving() -> Iterator[Webhook]:
    """A webhook for a while."""
    hook = Webhook()
    hook.go_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            hook.posted.append((self.path, headers, body))
            hook.go_on.wait()
            self.send_response(hook.status)
            if hook.location:
                self.send_header("location", hook.location)
            self.send_header("content-length", str(len(hook.body)))
            self.end_headers()
            self.wfile.write(hook.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        hook.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        try:
            yield hook
        finally:
            hook.go_on.set()
            server.shutdown()
            thread.join()
