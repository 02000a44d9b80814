"""Programs as people use them, from an unmodified host to an unmodified server; and both families side by side."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import ssl
import struct
from pathlib import Path

from .. import curl, peer
from ..bulk import both_ways
from ..capture import read
from ..chain import Chain
from ..chainconfig import V4, V6, Link, Setup
from ..server import Server, make_file, nginx, sha256_of
from ..shell import LabError, wait_until
from .rows import row

SIZE = 12_000_000
NARROW = Setup(links=(Link(50, 8), Link(100, 12)))
"""Wide enough that a file takes a second or two, narrow enough that both paths are needed."""


def _bonded(made: Chain, program: str, run) -> None:  # noqa: ANN001
    """Runs a program and makes sure that what it did went over X too."""
    with made.capture("w2", only="tcp", snap=134) as files:
        run()
    octets = sum(packet.payload for packet in read(files["w2"]))
    assert octets > 100_000, f"{program}: X carried {octets} octets"


@row("S2-2", "curl, both ways", goal="exact", unit="", on=NARROW)
def curl_gets_and_puts(made: Chain) -> str:
    with nginx(made) as server:
        wanted = server.put_file("get", SIZE, 1)
        got = made.work / "got"
        _bonded(made, "curl", lambda: curl.result(curl.start(made.host, made.work / "curl.log", f"http://{V4.server}/get", mptcp=False, get=got)))
        assert sha256_of(got) == wanted, "curl got another file"
        wanted = make_file(made.work / "put", SIZE, 2)
        done = curl.result(curl.start(made.host, made.work / "curl.log", f"http://[{V6.server}]/put", mptcp=False, put=made.work / "put"))
        assert done.status == 0 and sha256_of(server.stored("put")) == wanted, "nginx stored another file"
    return "exact"


@row("S2-2", "wget resumes a download that was killed half-way", goal="exact", unit="", on=NARROW)
def wget_resumes(made: Chain) -> str:
    with nginx(made) as server:
        wanted = server.put_file("resumed", SIZE, 3)
        got = made.work / "resumed"
        got.unlink(missing_ok=True)
        command = ["wget", "-q", "-c", "-T", "20", "-t", "1", "-O", str(got), f"http://{V4.server}/resumed"]
        first = made.host.start(command, made.work / "wget.log")
        wait_until("wget has begun", lambda: got.exists() and got.stat().st_size > 1_000_000, timeout=10.0)
        first.stop(1.0)
        had = got.stat().st_size
        assert had < SIZE, "the first half was the whole"
        made.host.run(*command)
        assert sha256_of(got) == wanted, "the resumed file differs"
    return f"exact, resumed at {had // 1_000_000} MB"


RANGES = ("0-0", "1000000-4999999", "-65537", "7000000-")


@row("S2-2", "parts of a file that curl asked nginx for, one connection each, as they are in it", goal="4", unit="ranges", on=NARROW)
def curl_gets_ranges(made: Chain) -> int:
    with nginx(made) as server:
        server.put_file("whole", SIZE, 4)
        whole = server.stored("whole").read_bytes()
        wanted = (whole[:1], whole[1_000_000:5_000_000], whole[-65_537:], whole[7_000_000:])
        got = made.work / "range"

        def get() -> None:
            for host, asked, part in zip((V4.server, f"[{V6.server}]") * 2, RANGES, wanted, strict=True):
                status = made.host.run("curl", "-sS", "-g", "--max-time", "20", "-r", asked, "-o", str(got), "-w", "%{http_code}", f"http://{host}/whole")
                assert status == "206" and got.read_bytes() == part, f"{asked}: {status}, {got.stat().st_size} octets"

        _bonded(made, "curl", get)
    return len(RANGES)


OBJECTS = 200


def _objects(made: Chain, server: Server) -> tuple[list[str], dict[str, bytes]]:
    """Small files at nginx, their URLs in both families by turns, and what is in them."""
    folder = server.stored("objects")
    folder.mkdir(exist_ok=True)
    files = {f"{number:03}": peer.payload(200 + 97 * number, number) for number in range(OBJECTS)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    hosts = (V4.server, f"[{V6.server}]")
    return [f"http://{hosts[number % 2]}/objects/{name}" for number, name in enumerate(files)], files


def _same(folder: Path, files: dict[str, bytes]) -> int:
    """How many of the files are there, as they should be."""
    right = sum((folder / name).exists() and (folder / name).read_bytes() == data for name, data in files.items())
    assert right == len(files), f"{right} of {len(files)} are as they were"
    return right


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@row("S2-2", "small files of 200 that wget got from nginx, over one connection for each family that it keeps", goal="200", unit="files", on=NARROW)
def wget_keeps_its_connections(made: Chain) -> int:
    with nginx(made, keepalive=30) as server:
        urls, files = _objects(made, server)
        # One host after the other: wget keeps the connection to the last one alone.
        (made.work / "urls").write_text("\n".join(sorted(urls)) + "\n")
        folder = _emptied(made.work / "by-wget")
        made.host.run("wget", "-q", "-T", "20", "-t", "1", "-P", str(folder), "-i", str(made.work / "urls"))
        seen = server.seen()
    assert len(seen) == OBJECTS and {address for address, _ in seen} == {V4.host, V6.host}, f"nginx saw {len(seen)} requests of {sorted({address for address, _ in seen})}"
    assert len(set(seen)) == 2, f"{len(set(seen))} connections"
    return _same(folder, files)


@row("S2-2", "small files of 200 that curl got from nginx, eight at a time, each over a connection of its own", goal="200", unit="files", on=NARROW)
def curl_opens_many_connections(made: Chain) -> int:
    with nginx(made) as server:
        urls, files = _objects(made, server)
        folder = _emptied(made.work / "by-curl")
        wanted = "".join(f'url = "{url}"\noutput = "{folder}/{url[-3:]}"\n' for url in urls)
        made.host.run("curl", "-sS", "-g", "--fail", "--max-time", "20", "--parallel", "--parallel-max", "8", "--config", "-", stdin=wanted)
        seen = server.seen()
    assert len(set(seen)) == OBJECTS and {address for address, _ in seen} == {V4.host, V6.host}, f"nginx saw {len(set(seen))} connections"
    assert made.hag.relays_left() == 0, "the HAG keeps relays"
    return _same(folder, files)


@row("S2-2", "iperf3 with one stream, the lesser direction", goal="> 0", unit="Mbit/s", on=NARROW)
def iperf3_runs(made: Chain) -> float:
    rates = []
    serving = made.server.start(["iperf3", "-s", "-p", "5201"], made.work / "iperf3.log")
    try:
        wait_until("iperf3 listens", lambda: ":5201" in made.server.run("ss", "-Htln"))
        for reverse in ([], ["-R"]):
            said = json.loads(made.host.run("iperf3", "-c", V4.server, "-p", "5201", "-t", "2", "-P", "1", "-J", *reverse))
            rates.append(said["end"]["sum_received"]["bits_per_second"] / 1e6)
    finally:
        serving.stop()
    assert min(rates) > 50, f"{rates[0]:.1f} up, {rates[1]:.1f} Mbit/s down: no more than the primary"
    return round(min(rates), 1)


def _certificate(work: Path, run) -> tuple[Path, Path]:  # noqa: ANN001
    key, cert = work / "key.pem", work / "cert.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=server", "-addext", f"subjectAltName=IP:{V4.server}", "-keyout", str(key), "-out", str(cert))  # fmt: skip
    return key, cert


@row("S2-2", "a TLS session, certificate verified, 6 MB each way", goal="exact", unit="", on=NARROW)
def a_tls_session(made: Chain) -> str:
    key, cert = _certificate(made.work, made.server.run)
    data = peer.payload(6_000_000, 6)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve(conn: socket.socket) -> None:
        with context.wrap_socket(conn, server_side=True) as secure:
            got = peer.read_exactly(secure, len(data))
            secure.sendall(data if got == data else b"")

    trusting = ssl.create_default_context(cafile=str(cert))
    with peer.listening(made.server, serve, port=443) as server, peer.connect(made.host, V4.server, mptcp=False, port=443) as conn:
        with trusting.wrap_socket(conn, server_hostname=V4.server) as secure:
            secure.sendall(data)
            assert peer.read_exactly(secure, len(data)) == data, "what came back differs"
            version = secure.version()
        server.join()
    assert not server.failures, server.failures
    return f"exact, {version}"


def _frame(payload: bytes, mask: bytes) -> bytes:
    """A final binary frame of RFC 6455, from a client if there is a mask."""
    length = struct.pack("!BQ", 127 | (128 if mask else 0), len(payload))
    body = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload)) if mask else payload
    return b"\x82" + length + mask + body


def _unframe(conn: socket.socket) -> bytes:
    head = peer.read_exactly(conn, 10)
    size = struct.unpack("!Q", head[2:])[0]
    mask = peer.read_exactly(conn, 4) if head[1] & 128 else b""
    body = peer.read_exactly(conn, size)
    return bytes(octet ^ mask[at % 4] for at, octet in enumerate(body)) if mask else body


def _accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


@row("S2-2", "a WebSocket that echoes messages while it idles in between", goal="20", unit="messages", on=NARROW)
def a_websocket(made: Chain) -> int:
    def serve(conn: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += conn.recv(4096)
        key = next(line.split(b": ")[1].decode() for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        conn.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {_accept_key(key)}\r\n\r\n".encode())
        for _ in range(20):
            conn.sendall(_frame(_unframe(conn), b""))

    key = base64.b64encode(bytes(range(16))).decode()
    with peer.listening(made.server, serve, port=80) as server, peer.connect(made.host, V4.server, mptcp=False) as conn:
        conn.sendall(f"GET /chat HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += conn.recv(1)
        assert _accept_key(key).encode() in answer
        for number in range(20):
            message = peer.payload(10 + number * 2_000, number)
            conn.sendall(_frame(message, b"mask"))
            assert _unframe(conn) == message, f"message {number} came back changed"
        server.join()
    return 20


@row("S2-2", "ssh runs a command and carries 8 MB out and back", goal="exact", unit="", on=NARROW)
def ssh_works(made: Chain) -> str:
    folder = made.work / "ssh"
    folder.mkdir(exist_ok=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        made.host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "allowed").write_text((folder / "user.pub").read_text())
    (folder / "allowed").chmod(0o600)
    (folder / "known").write_text(f"[{V4.server}]:2222 " + (folder / "host.pub").read_text())
    options = {"Port": 2222, "HostKey": folder / "host", "AuthorizedKeysFile": folder / "allowed", "StrictModes": "no", "PasswordAuthentication": "no", "UsePAM": "no", "PidFile": "none", "PermitRootLogin": "yes"}
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    serving = made.server.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")], made.work / "sshd.log")
    try:
        wait_until("sshd listens", lambda: ":2222" in made.server.run("ss", "-Htln") or not serving.running())
        if not serving.running():
            raise LabError(f"sshd ended: {serving.output()}")
        wanted = make_file(folder / "out", 8_000_000, 9)
        made.host.run(
            "sh", "-c",
            f"ssh -F none -i {folder}/user -o UserKnownHostsFile={folder}/known -o BatchMode=yes -p 2222 root@{V4.server} cat < {folder}/out > {folder}/back",
        )  # fmt: skip
        assert sha256_of(folder / "back") == wanted, "what came back differs"
    finally:
        serving.stop()
    return "exact"


# Both families

def _works(made: Chain, *, six: bool) -> dict[str, bool]:
    """What a family has to offer: the names of what was tried, and whether it worked."""
    ends = V6 if six else V4
    family = socket.AF_INET6 if six else socket.AF_INET
    done: dict[str, bool] = {}
    with made.capture("w1", "w2", only="tcp", snap=134) as files:
        moved = both_ways(made, 1.2, six=six)
    octets = [sum(packet.payload for packet in read(files[name])) for name in ("w1", "w2")]
    for way, each in moved.items():
        done[way] = each.exact and each.seen == [ends.host]
    done["bonded"] = min(octets) > 200_000
    try:
        peer.connect(made.host, ends.server, mptcp=False, port=81).close()
        done["refusal"] = False
    except ConnectionRefusedError:
        done["refusal"] = True
    with peer.listening(made.server, peer.sends(b"x" * 5000), family=family, port=86):
        answers = []
        for _ in range(30):
            with peer.connect(made.host, ends.server, mptcp=False, port=86) as conn:
                answers.append(len(peer.read_all(conn)))
        done["short connections"] = answers == [5000] * 30
    done["ping"] = " 0% packet loss" in made.host.run("ping", "-c", "3", "-i", "0.2", ends.server, check=False)
    # The first may meet a narrower network, and be answered with its MTU.
    done["large ping"] = " 100% packet loss" not in made.host.run("ping", "-c", "3", "-i", "0.3", "-s", "1800", ends.server, check=False)
    return done


def _all_work(made: Chain, *, six: bool) -> str:
    done = _works(made, six=six)
    assert all(done.values()), f"IPv{6 if six else 4}: " + ", ".join(name for name, worked in done.items() if not worked)
    return f"{len(done)} of {len(done)}"


@row("R1", "what works over IPv4 where both families are there", goal="7 of 7", unit="", on=NARROW)
def both_families_over_four(made: Chain) -> str:
    return _all_work(made, six=False)


@row("R1", "what works over IPv6 where both families are there", goal="7 of 7", unit="", on=NARROW)
def both_families_over_six(made: Chain) -> str:
    return _all_work(made, six=True)


@row("R1", "what works where the access networks are IPv4 alone", goal="7 of 7", unit="", on=Setup(links=NARROW.links, primary="4", secondary="4"))
def four_alone(made: Chain) -> str:
    return _all_work(made, six=False)


@row("R1", "what works where the access networks are IPv6 alone", goal="7 of 7", unit="", on=Setup(links=NARROW.links, primary="6", secondary="6"))
def six_alone(made: Chain) -> str:
    return _all_work(made, six=True)


ODD = Setup(
    links=(Link(50, 8, more=("--jitter=1ms",)), Link(100, 20, more=("--jitter=10ms", "--reorder=0.5%", "--duplicate=0.1%"))),
    hcpe={"ports": {"wan1": {"mtu": 1492}, "wan2": {"mtu": 1400}}},
    hag={"ports": {"access1": {"mtu": 1492}, "access2": {"mtu": 1400}}},
)


@row("R7", "P as PPPoE leaves it (1492) and X as a mobile network is (1400, jitter, reordering, copies): what works in both families", goal="14 of 14", unit="", on=ODD)
def access_networks_that_differ(made: Chain) -> str:
    for six in (False, True):
        _all_work(made, six=six)
    return "14 of 14"

