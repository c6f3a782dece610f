"""Sweeps on Dask: a cluster of their own, and a real scheduler with workers as processes of their own."""

import datetime
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from papisim.errors import InputError, PapisimError
from papisim.exploration.cluster import Tls, check_address, cluster, is_in_the_open
from papisim.exploration.file import load_sweep
from papisim.exploration.run import sweep
from papisim.exploration.store import read_frame
from papisim.exploration.workers import Here

pytest.importorskip("distributed", reason="needs the extra [sweep]")

SPACE = """\
schema: papisim/sweep/1
description: enough points to be in the middle of
base: {hw: papi, trace: llama7b, batch: 4}
space:
  seed: {range: [0, 23], step: 1}
  devices.fc_pim.count: [1, 30]
constraints: {slo: tpot_p99_s <= 3.5 ms}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen]:
    """Run a module of distributed, and end it."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def scheduler(folder: Path, *options: str) -> Iterator[str]:
    """Run a scheduler on the loopback interface, and yield its address."""
    file = folder / "scheduler.json"
    here = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    with process("distributed.cli.dask_scheduler", *here, *options):
        for _ in range(600):
            if file.exists() and file.read_text().strip().endswith("}"):
                break
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"]


def worker(address: str, *options: str):
    here = ("--host", "127.0.0.1", "--no-dashboard", "--no-nanny", "--nthreads", "1")
    return process("distributed.cli.dask_worker", address, *here, *options)


def command(space: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "papisim", "sweep", str(space), "--out", str(out), *options]


@pytest.mark.slow
def test_a_cluster_of_its_own_gives_the_rows_of_one_process_and_listens_on_the_loopback_alone(space, tmp_path):
    file = load_sweep(space)
    sweep(file, tmp_path / "one", Here())
    with cluster("embedded", 2) as dask:
        addresses = [dask._client.scheduler.address, *dask._client.nthreads()]
        assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
        assert dask.count == 2
        swept = sweep(file, tmp_path / "dask", dask)
    assert sum(swept.tally[status] for status in ("ok", "infeasible", "failed")) == 48
    assert read_frame(tmp_path / "dask") == read_frame(tmp_path / "one")


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing(space, tmp_path):
    out = tmp_path / "out"
    with scheduler(tmp_path) as address, worker(address) as first, worker(address):
        arguments = command(space, out, "--scheduler", address)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweeping:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and len(begun(out)) < 2:
                time.sleep(0.01)
            first.kill()
            printed, errors = sweeping.communicate(timeout=180)
    assert sweeping.returncode == 0, errors
    rows, _ = read_frame(out)
    assert [row["point"] for row in rows] == list(range(48)), "each point once"
    sweep(load_sweep(space), tmp_path / "one", Here())
    assert read_frame(out) == read_frame(tmp_path / "one")
    reused = int(re.search(r"(\d+) reused", printed)[1])
    assert reused >= 1, "what the killed worker had finished of its chunk"


def begun(out: Path) -> list[Path]:
    """Return the journals that have a row: those of chunks in which a worker is in the middle."""
    return [path for path in (out / "parts").glob("*.jsonl") if path.stat().st_size]


@pytest.fixture
def certificates(tmp_path: Path) -> Tls:
    """Make an authority, and a certificate that it signed for this machine's loopback address."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, signing_key, extension):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(signing_key, hashes.SHA256())

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    authority = certificate("papisim test authority", authority_key, None, authority_key, is_authority)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = certificate("papisim test", key, authority.subject, authority_key, loopback)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    tls = Tls(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    for path, content in zip((tls.ca, tls.cert, tls.key), (authority.public_bytes(pem), own.public_bytes(pem), private), strict=True):  # fmt: skip
        path.write_bytes(content)
    return tls


@pytest.mark.slow
def test_a_scheduler_reached_over_tls_sweeps_and_refuses_who_has_no_certificate(space, tmp_path, certificates):
    tls = certificates
    options = ["--tls-ca-file", str(tls.ca), "--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]
    with scheduler(tmp_path, *options, "--protocol", "tls") as address, worker(address, *options):
        assert address.startswith("tls://127.0.0.1:")
        arguments = [
            "--scheduler",
            address,
            "--tls-ca",
            str(tls.ca),
            "--tls-cert",
            str(tls.cert),
            "--tls-key",
            str(tls.key),
        ]
        done = subprocess.run(
            command(space, tmp_path / "out", *arguments), capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0, done.stderr
        assert len(read_frame(tmp_path / "out")[0]) == 48
        for stranger in (address, address.replace("tls://", "tcp://")):
            with pytest.raises(PapisimError, match="no scheduler answers"), cluster(stranger, 1):
                pass


def test_nobody_at_an_address_is_said_at_once_and_nothing_is_lost(space, tmp_path):
    done = subprocess.run(
        command(space, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"},
    )
    assert done.returncode == 2
    assert "papisim: error: no scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "address", ["tcp//host:1", "http://host:1", "tcp://host", "host:8786", "tcp://:1", "tls://host:port"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="expected embedded, tcp://HOST:PORT or tls://HOST:PORT"):
        check_address(address, None)


@pytest.mark.parametrize("address", ["embedded", "tcp://127.0.0.1:8786"])
def test_certificates_without_tls_are_refused(address):
    with pytest.raises(InputError, match="TLS files"):
        check_address(address, Tls(Path("ca"), Path("cert"), Path("key")))


@pytest.mark.parametrize(
    ("address", "open_"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("tcp://cluster:8786", True),
        ("tls://10.0.0.1:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("embedded", False),
    ],
)
def test_what_leaves_this_machine_in_the_open_is_known(address, open_):
    assert is_in_the_open(address) is open_
