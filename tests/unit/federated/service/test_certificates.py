from __future__ import annotations

import datetime
import socket
import ssl
import stat
import threading
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from federated.errors import DeploymentError
from federated.service import certificates
from federated.service.certificates import ensure_certificates, issue_certificate
from federated.service.config import DeploymentOptions
from federated.service.files import DeploymentFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def options(tmp_path: Path) -> DeploymentOptions:
    return DeploymentOptions(folder=str(tmp_path / "d"), names=("rounds.example.org", "10.0.0.7"))


def connect(files: DeploymentFiles, name: str, authority: Path | None = None) -> None:
    """A TLS handshake as a device makes it, with the host name that it was given."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.certificate_key)
    client = ssl.create_default_context(cafile=str(authority or files.authority))
    ends = socket.socketpair()

    def answer() -> None:
        try:
            server.wrap_socket(ends[1], server_side=True).close()
        except OSError:
            ends[1].close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(ends[0], server_hostname=name).close()
    finally:
        ends[0].close()
        thread.join()


def test_devices_reach_the_server_under_its_names_only(options: DeploymentOptions) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    for name in ("localhost", "127.0.0.1", "rounds.example.org", "10.0.0.7"):
        connect(files, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        connect(files, "other.example.org")


def test_a_new_certificate_is_of_the_same_authority(options: DeploymentOptions) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    authority, first = files.authority.read_bytes(), files.certificate.read_bytes()
    ensure_certificates(files, options)
    assert files.certificate.read_bytes() == first
    issue_certificate(files, options)
    assert files.authority.read_bytes() == authority
    assert files.certificate.read_bytes() != first
    connect(files, "localhost")


def test_another_authority_is_not_believed(options: DeploymentOptions, tmp_path: Path) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    other = DeploymentFiles.of(DeploymentOptions(folder=str(tmp_path / "other")))
    ensure_certificates(other, options)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(files, "localhost", other.authority)


def test_keys_are_for_their_owner_only(options: DeploymentOptions) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    for path in (files.authority_key, files.certificate_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700


def test_a_name_that_is_added_asks_for_a_new_certificate(options: DeploymentOptions) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    more = DeploymentOptions(folder=options.folder, names=("new.example.org",))
    with pytest.raises(DeploymentError, match=r"not for new\.example\.org; .*--renew"):
        ensure_certificates(files, more)


def test_one_that_is_out_of_its_time_asks_for_a_new_one(
    options: DeploymentOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DeploymentFiles.of(options)
    soon = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    monkeypatch.setattr(certificates, "_days", lambda _: soon)
    with pytest.raises(DeploymentError, match=r"is valid until .*--renew"):
        ensure_certificates(files, options)


@pytest.mark.parametrize("name", ["authority_key", "certificate", "authority"])
def test_a_damaged_file_is_named(options: DeploymentOptions, name: str) -> None:
    files = DeploymentFiles.of(options)
    ensure_certificates(files, options)
    damaged: Path = getattr(files, name)
    damaged.write_text("no")
    with pytest.raises(DeploymentError, match=damaged.name):
        (ensure_certificates if name == "certificate" else issue_certificate)(files, options)
