"""Public data come whole and checked, or not at all; the publisher is a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.config.base import parse
from papisim.config.yaml import Document
from papisim.errors import InputError, PapisimError
from papisim.validation import public_data as module
from papisim.validation.public_data import PublicData, PublicFile, data_folder, fetch_all, how_to_get, public_data

TABLE = b"kernel_source,gemm_dtype,m,n,k,latency\nvllm_default,bfloat16,64,8192,8192,0.1\n"
SHA256, N_BYTES = hashlib.sha256(TABLE).hexdigest(), len(TABLE)


class Publisher(BaseHTTPRequestHandler):
    """Serves the same table under every path."""

    n_asked = 0

    def do_GET(self):
        type(self).n_asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TABLE)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Return a function that makes the table of public data one of a single file on a local server."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAPISIM_CACHE", str(tmp_path / "cache"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Publisher, "n_asked", 0)

    def publish(sha256=SHA256, size_bytes=N_BYTES):
        fields = {"sha256": sha256, "size_bytes": size_bytes, "licence": "MIT", "citation": "vidur"}
        file = PublicFile.model_construct(
            url=f"http://127.0.0.1:{server.server_port}/t.csv", public_trace=None, **fields
        )
        table = PublicData.model_construct(description="test", files={"gpu/aic_a100_gemm.csv": file}, others={})
        monkeypatch.setattr(module, "public_data", lambda: table)

    yield publish
    server.shutdown()
    server.server_close()


def test_files_are_downloaded_once_and_checked_every_time(publish):
    publish()
    (first,) = fetch_all(data_folder())
    assert (first.downloaded, first.path.read_bytes()) == (True, TABLE)
    (again,) = fetch_all(data_folder())
    assert not again.downloaded
    assert Publisher.n_asked == 1
    first.path.write_bytes(TABLE + b"more\n")
    with pytest.raises(InputError, match="SHA-256"):
        list(fetch_all(data_folder()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"sha256": "0" * 64}, "expected 0000"), ({"size_bytes": N_BYTES - 1}, "larger than the 77 bytes expected")],
)
def test_another_file_or_a_larger_one_is_refused_and_nothing_is_kept(publish, wrong, said):
    publish(**wrong)
    with pytest.raises(InputError, match=said):
        list(fetch_all(data_folder()))
    assert [path for path in data_folder().rglob("*") if path.is_file()] == []


def test_the_command_compares_with_what_it_fetched(publish):
    publish()
    shown = CliRunner().invoke(papisim, ["validate", "--fetch"], terminal_width=200, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "gpu/aic_a100_gemm.csv" in shown.stdout
    assert "1 files in" in shown.stderr


def test_without_a_network_it_says_so(publish, monkeypatch):
    publish()
    file = public_data().files["gpu/vidur_a100_phi2.csv"].model_copy(update={"url": "http://127.0.0.1:9/none"})
    table = PublicData.model_construct(description="test", files={"gpu/x.csv": file}, others={})
    monkeypatch.setattr(module, "public_data", lambda: table)
    result = CliRunner().invoke(papisim, ["validate", "--fetch"])
    assert isinstance(result.exception, PapisimError)
    assert "cannot be had" in str(result.exception)
    assert result.exception.__class__ is InputError


def test_every_file_of_the_table_has_an_address_a_licence_and_a_known_work():
    table = public_data()
    assert {name.partition("/")[0] for name in table.files} == {"gpu", "requests"}
    for name, file in table.files.items():
        url, sha256, most_bytes = file.source
        assert url.startswith("https://")
        assert sha256 is not None, name
        assert 0 < most_bytes <= 64 * 1024**2
        assert file.public_trace is not None or len(url.split("/")[5]) == 40, "pinned to a commit"


def test_skipped_tests_can_say_how_data_are_obtained():
    assert how_to_get("gpu/vidur_a100_phi2.csv") == "papisim validate --fetch downloads it"
    assert how_to_get("requests/AzureLLMInferenceTrace_conv.csv.gz") == "papisim validate --fetch downloads it"
    assert "Ramulator" in how_to_get("golden")
    assert how_to_get("sealed/x") == "it is not public"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://x.org/y", "licence": "MIT"},
        {"public_trace": "azure_2023_code", "licence": "MIT"},
        {"url": "https://x.org/y", "sha256": "0" * 64, "size_bytes": 1, "licence": "MIT", "citation": "nobody"},
        {"url": "ftp://x.org/y", "sha256": "0" * 64, "size_bytes": 1, "licence": "MIT", "citation": "vidur"},
        {},
    ],
)
def test_an_entry_that_lacks_something_is_refused(fields):
    with pytest.raises(PapisimError):
        parse(PublicFile, Document(fields, "public_data.yaml"))
