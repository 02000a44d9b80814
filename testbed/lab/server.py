"""The server: nginx with plain TCP, serving a file and storing what is PUT to it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError, wait_until
from .topology import Scene

CONFIG = """
daemon off;
master_process off;
worker_processes 1;
error_log {root}/error.log;
pid {root}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    log_format seen '$remote_addr $remote_port $request_method $uri $status';
    access_log {root}/access.log seen;
    sendfile on;
    keepalive_timeout {keepalive};
    client_max_body_size 0;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/t1; fastcgi_temp_path {root}/t2; uwsgi_temp_path {root}/t3; scgi_temp_path {root}/t4;
    server {{
        listen 80;
        listen [::]:80;
        location / {{ root {root}/www; dav_methods PUT; client_body_buffer_size 1m; }}
        location = /small {{ return 200 "small answer\\n"; }}
    }}
}}
"""


@dataclass
class Server:
    """The running nginx and the files behind it."""

    root: Path

    def put_file(self, name: str, size: int, seed: int) -> str:
        """Makes a file of `size` octets drawn from `seed` and returns its SHA-256."""
        return make_file(self.root / "www" / name, size, seed)

    def stored(self, name: str) -> Path:
        """Where a PUT landed."""
        return self.root / "www" / name

    def seen(self) -> list[tuple[str, int]]:
        """Addresses and ports of the clients, as nginx saw them."""
        lines = (self.root / "access.log").read_text().splitlines()
        return [(line.split()[0], int(line.split()[1])) for line in lines if line]


def make_file(path: Path, size: int, seed: int) -> str:
    """Writes `size` random octets drawn from `seed`; returns their SHA-256."""
    source = random.Random(seed)
    digest = hashlib.sha256()
    with path.open("wb") as sink:
        left = size
        while left:
            chunk = source.randbytes(min(left, 1 << 20))
            digest.update(chunk)
            sink.write(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of nothing if it is not there."""
    if not path.exists():
        return "missing"
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


@contextmanager
def nginx(made: Scene, *, keepalive: int = 0) -> Iterator[Server]:
    """Runs nginx in the server's namespace. Between requests it keeps a connection for so many seconds."""
    root = made.work / "nginx"
    for folder in (root, root / "www", root / "body"):
        folder.mkdir(parents=True, exist_ok=True)
    # The single process of nginx drops to an unprivileged user only with a master: files need no other rights then.
    config = root / "nginx.conf"
    config.write_text(CONFIG.format(root=root, keepalive=keepalive))
    (root / "access.log").write_text("")
    process = made.server.start(["nginx", "-c", str(config), "-e", str(root / "error.log")], made.work / "nginx.log")
    try:
        wait_until("nginx listens", lambda: not process.running() or ":80 " in made.server.run("ss", "-Htln"))
        if not process.running():
            raise LabError(f"nginx ended: {process.output().strip()}")
        yield Server(root)
    finally:
        process.stop()
