"""Public traces come whole and checked, or not at all; the publisher is a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from papisim import catalog
from papisim.catalog import Shelf, cache_folder
from papisim.cli import papisim as command_line
from papisim.errors import InputError, PapisimError
from papisim.workloads.formats.base import FORMAT
from papisim.workloads.traces.fetch import fetch
from papisim.workloads.traces.public import load_public

TRACE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,4808,10\n2023-11-16 18:17:05,3180,8\n"
GOOD = hashlib.sha256(TRACE).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Publisher(BaseHTTPRequestHandler):
    """Serves ``/trace.csv``, whatever is below ``/mirror/``, a moved one and one that breaks off."""

    body = TRACE
    asked: list[str] = []  # noqa: RUF012 - of the class, for the tests to look at

    def do_GET(self):
        type(self).asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/trace.csv")
            self.end_headers()
        elif self.path == "/trace.csv" or self.path.startswith("/mirror/"):
            self.answer(len(self.body))
        elif self.path == "/broken":
            self.answer(len(self.body) + 100)
        else:
            self.send_error(404)

    def answer(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher(monkeypatch):
    """Return the address of a server, and let Publisher's attributes be changed for the test."""
    monkeypatch.setattr(Publisher, "body", TRACE)
    monkeypatch.setattr(Publisher, "asked", [])
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["/trace.csv", "/moved"])
def test_a_file_with_the_right_checksum_is_kept_and_not_asked_for_again(publisher, tmp_path, place):
    path = tmp_path / "cache" / "t.csv"
    pieces = []
    first = fetch(publisher + place, path, sha256=GOOD, progress=lambda *come: pieces.append(come))
    assert (first.downloaded, first.sha256, path.read_bytes()) == (True, GOOD, TRACE)
    assert pieces[-1] == (len(TRACE), len(TRACE))
    n_asked = len(Publisher.asked)
    assert not fetch(publisher + place, path, sha256=GOOD).downloaded
    assert len(Publisher.asked) == n_asked
    assert fetch(publisher + place, path, sha256=GOOD, again=True).downloaded


@pytest.mark.parametrize(
    ("place", "sha256", "said"),
    [
        ("/trace.csv", OTHER, rf"has the SHA-256 {GOOD}, expected {OTHER}.*nothing is kept.*--sha256 {GOOD}"),
        ("/broken", GOOD, "broke off|cannot be had"),
        ("/missing", GOOD, "the server says 404 Not Found; try --url or --mirror"),
    ],
)
def test_what_is_not_the_file_expected_is_not_kept(publisher, tmp_path, place, sha256, said):
    path = tmp_path / "t.csv"
    path.write_bytes(b"what was there")
    with pytest.raises(InputError, match=said):
        fetch(publisher + place, path, sha256=sha256, again=True)
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]
    assert path.read_bytes() == b"what was there"


def test_a_file_nobody_vouches_for_is_trusted_once_and_held_to(publisher, tmp_path):
    path = tmp_path / "t.csv"
    first = fetch(publisher + "/trace.csv", path, sha256=None)
    assert "no hash is known" in first.trusted
    assert (tmp_path / "t.csv.sha256").read_text().strip() == GOOD
    assert "as it first came" in fetch(publisher + "/trace.csv", path, sha256=None).trusted
    Publisher.body = TRACE + b"2023-11-16 18:17:06,1,1\n"
    with pytest.raises(InputError, match=f"expected {GOOD} as it first came"):
        fetch(publisher + "/trace.csv", path, sha256=None, again=True)
    assert path.read_bytes() == TRACE
    changed = hashlib.sha256(Publisher.body).hexdigest()
    assert fetch(publisher + "/trace.csv", path, sha256=changed, again=True).sha256 == changed


def test_a_file_in_the_cache_that_has_changed_is_refused(publisher, tmp_path):
    path = tmp_path / "t.csv"
    fetch(publisher + "/trace.csv", path, sha256=GOOD)
    path.write_bytes(TRACE[:-2])
    with pytest.raises(InputError, match="download it --again"):
        fetch(publisher + "/trace.csv", path, sha256=GOOD)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/t.csv", "t.csv", ""])
def test_only_web_addresses_are_fetched(tmp_path, url):
    with pytest.raises(InputError, match="expected one that begins with https:// or http://"):
        fetch(url, tmp_path / "t.csv", sha256=None)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:9/é", "http://127.0.0.1:x/", "http://a b/", "https://"]
)
def test_addresses_that_are_none_are_one_message(tmp_path, url):
    with pytest.raises(InputError, match="cannot be had"):
        fetch(url, tmp_path / "t.csv", sha256=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:9/t.csv", "data:,x"])
def test_no_server_leads_away_from_the_web(publisher, tmp_path, monkeypatch, target):
    def redirect(self):
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    monkeypatch.setattr(Publisher, "do_GET", redirect)
    with pytest.raises(InputError, match="cannot be had"):
        fetch(f"{publisher}/x", tmp_path / "t.csv", sha256=None)
    assert list(tmp_path.iterdir()) == []


def test_a_download_without_an_end_is_broken_off(publisher, tmp_path):
    with pytest.raises(InputError, match="is larger than the 50 bytes expected; nothing is kept"):
        fetch(f"{publisher}/trace.csv", tmp_path / "t.csv", sha256=None, most_bytes=50)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match=r"cannot be had: .*try --url or --mirror"):
        fetch("http://127.0.0.1:9/t.csv", tmp_path / "t.csv", sha256=None)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("PAPISIM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PAPISIM_CACHE")
    assert cache_folder().name == "papisim"


def test_the_command_prints_the_path_alone_and_tells_licence_and_citation_beside(publisher, tmp_path):
    arguments = ["workload", "fetch", "azure_2023_code", "--cache", str(tmp_path)]
    refused = CliRunner().invoke(command_line, [*arguments, "--mirror", publisher + "/mirror"])
    assert isinstance(refused.exception, InputError), "the stand-in is not Azure's file"
    assert Publisher.asked == ["/mirror/AzureLLMInferenceTrace_code.csv"]
    done = CliRunner().invoke(command_line, [*arguments, "--url", publisher + "/trace.csv", "--sha256", GOOD])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'AzureLLMInferenceTrace_code.csv'}\n"
    assert "licence: CC BY 4.0" in done.stderr
    assert "Splitwise" in done.stderr
    looked = CliRunner().invoke(command_line, ["workload", "inspect", done.stdout.strip(), "--format", "json"])
    assert '"n_requests": 2' in looked.stdout


PUBLIC = catalog.shipped(Shelf.PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_entry_of_the_catalogue_says_where_what_whose_and_how_it_is_known(name):
    trace = load_public(name)
    assert trace.format in FORMAT.own()
    assert trace.url.endswith(trace.file)
    assert (trace.sha256 is None) == trace.sha256_from.startswith("no published checksum")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("url: ftp://x/y", "url: found 'ftp://x/y'"),
        ("sha256: abc", "sha256: found 'abc'"),
        ("citation: nobody2020", "citation: found 'nobody2020', no work of the bibliography"),
        ("licenze: MIT", "licenze: unknown field; did you mean 'licence'?"),
        ("file: ../x", "file: found '../x'"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(tmp_path, change, said):
    entry = tmp_path / "e.yaml"
    field = change.partition(":")[0]
    lines = PUBLIC["dolly"].read_text().splitlines()
    entry.write_text("\n".join([line for line in lines if not line.startswith(f"{field}:")] + [change]))
    with pytest.raises(PapisimError) as error:
        load_public(str(entry))
    assert said in str(error.value)
