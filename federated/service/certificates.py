"""TLS certificates of a deployment: an authority of its own, and the SuperLink's certificate.

Keys are on the curve P-256. The authority signs nothing but the server's certificate; devices are
given its certificate (`ca.pem`) once, and need nothing when the server's is made anew.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federated.errors import DeploymentError
from federated.service.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from federated.service.config import DeploymentOptions
    from federated.service.files import DeploymentFiles

_AUTHORITY_DAYS = 3650
_SKEW = datetime.timedelta(hours=1)
"""Certificates begin this long ago, for devices whose clock is behind."""


def ensure_certificates(files: DeploymentFiles, options: DeploymentOptions) -> None:
    """Make what is missing; see that what is there is valid and names the server.

    Raises:
        DeploymentError: A certificate cannot be read or written, is out of its time, or does not
            hold a name that the options ask for; the message has the command that mends it.
    """
    if not files.certificate.exists() or not files.certificate_key.exists():
        issue_certificate(files, options)
    certificate = _read_certificate(files.certificate)
    now = datetime.datetime.now(datetime.UTC)
    remedy = "make a new one: edge-sdk federated certificates CONFIG --renew"
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        msg = f"{files.certificate} is valid until {certificate.not_valid_after_utc:%F}; {remedy}"
        raise DeploymentError(msg)
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    missing = [name for name in _names(options) if _general_name(name) not in held]
    if missing:
        msg = f"{files.certificate} is not for {', '.join(missing)}; {remedy}"
        raise DeploymentError(msg)


def issue_certificate(files: DeploymentFiles, options: DeploymentOptions) -> None:
    """Make a new key and certificate of the server, and the authority if there is none.

    Raises:
        DeploymentError: A file cannot be read or written, or the authority's key is not there.
    """
    if not files.authority.exists():
        _make_authority(files)
    authority = _read_certificate(files.authority)
    authority_key = _read_key(files)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(_days(options.certificate_days), authority.not_valid_after_utc)
    certificate = (
        _builder("Edge SDK SuperLink", authority.subject, key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in _names(options)]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    replace_file(files.certificate_key, _key_pem(key))
    replace_file(files.certificate, _pem(certificate), mode=0o644)


def _make_authority(files: DeploymentFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edge SDK deployment")])
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder("Edge SDK deployment", name, key.public_key(), _days(_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    replace_file(files.authority_key, _key_pem(key))
    replace_file(files.authority, _pem(certificate), mode=0o644)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _names(options: DeploymentOptions) -> list[str]:
    return list(dict.fromkeys(["localhost", "127.0.0.1", options.local_host, *options.names]))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _days(count: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=count)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as a certificate; restore it, or remove it and make new ones"
        raise DeploymentError(msg) from error


def _read_key(files: DeploymentFiles) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(files.authority_key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        msg = (
            f"{files.authority_key} cannot be read; bring it back from where it is kept: a new "
            "authority would have to be given to all devices"
        )
        raise DeploymentError(msg) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = f"{files.authority_key} is no key that this deployment made"
        raise DeploymentError(msg)
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
