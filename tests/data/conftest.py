"""Isolation from the machine's own data and network, and builders of small published-looking files."""

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from numpy import ndarray

from sepgconv.data.download import RemoteFile


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user cache of this test alone; and no network: a test that wants downloads asks for `server`."""
    folder = tmp_path / "user-cache"
    monkeypatch.setattr(pooch, "os_cache", lambda project: folder)
    monkeypatch.delenv("SEPGCONV_DATA", raising=False)

    def refuse(url: str, *args: object, **kwargs: object) -> None:
        raise AssertionError(f"a download of {url} was attempted")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    return folder


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class Server:
    """An HTTP server on the loopback interface that serves what is in `files` and counts requests."""

    def __init__(self, port: int, files: dict[str, bytes], requests: list[str]) -> None:
        self.url, self.files, self.requests = f"http://127.0.0.1:{port}", files, requests

    def publish(self, name: str, content: bytes) -> RemoteFile:
        self.files[name] = content
        return RemoteFile(name, md5_of(content), (f"{self.url}/{name}",))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Server]:
    from pooch.core import retrieve

    files: dict[str, bytes] = {}
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            requests.append(name)
            self.send_response(200 if name in files else 404)
            self.send_header("Content-Length", str(len(files.get(name, b""))))
            self.end_headers()
            self.wfile.write(files.get(name, b""))

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Server(http_server.server_address[1], files, requests)
        http_server.shutdown()
        thread.join()


def md5_of(content: bytes) -> str:
    return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


@pytest.fixture
def publish() -> Callable[..., RemoteFile]:
    """Write a file and return it as a RemoteFile that has its checksum and cannot be downloaded."""

    def write(path: Path, content: bytes, urls: tuple[str, ...] = ()) -> RemoteFile:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return RemoteFile(path.name, md5_of(content), urls)

    return write


@pytest.fixture
def idx() -> Callable[[ndarray], bytes]:
    """Return an array of bytes as a gzipped IDX file."""

    def write(array: ndarray) -> bytes:
        header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        return gzip.compress(header + array.astype(np.uint8).tobytes())

    return write
