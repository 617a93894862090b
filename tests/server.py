"""An HTTP server of the tests' own, which can go on with a file, and can be told to behave badly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """Serves a folder on this machine's own address, and remembers what was asked of it."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.asked: list[str] = []
        self.ranges: list[str] = []
        """What was asked for of each file: `bytes=20-`, or nothing for all of it."""
        self.breaks_after: list[int] = []
        """The bytes after which the next answers break off."""
        self.knows_ranges, self.gives_marks, self.gives_length = True, True, True
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self.http.server_port}/"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append(self.path)
            server.ranges.append(wanted)
            file = server.folder / self.path[1:]
            if not file.is_file():
                self.send_error(404)
                return
            data = file.read_bytes()
            mark = f'"{sha256(data).hexdigest()}"'
            start = self._start(wanted, mark)
            if start > 0 and start >= len(data):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if server.gives_length:
                self.send_header("Content-Length", str(len(data) - start))
            if server.gives_marks:
                self.send_header("ETag", mark)
            self.end_headers()
            end = start + server.breaks_after.pop(0) if server.breaks_after else len(data)
            self.wfile.write(data[start:end])

        def _start(self, wanted: str, mark: str) -> int:
            same = self.headers.get("If-Range", mark) == mark
            return (
                int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges and same else 0
            )

    return Handler


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of a new folder."""
    server = Server(folder)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()
