"""Certificates for loopback servers and their clients, from an authority that is made once for all tests."""

from __future__ import annotations

import os
import ssl
import subprocess
from functools import cache
from pathlib import Path

import trustme

HOST = "127.0.0.1"


@cache
def authority() -> trustme.CA:
    """Return the authority that the servers' certificates come from."""
    return trustme.CA()


@cache
def stranger() -> trustme.CA:
    """Return an authority that clients do not trust."""
    return trustme.CA()


def server_context(name: str = HOST, *, wants_client: bool = False, issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return a server's context with a certificate for the name; it may insist on a client's too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (issuer or authority()).issue_cert(name).configure_cert(context)
    if wants_client:
        authority().configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def write_authority(folder: Path, ca: trustme.CA | None = None) -> str:
    """Write the certificate of an authority to a file; return its path."""
    path = folder / f"{'authority' if ca is None else 'stranger'}.pem"
    (ca or authority()).cert_pem.write_to_path(str(path))
    return str(path)


def write_server(folder: Path, name: str = HOST) -> tuple[str, str]:
    """Write a server's certificate chain and its private key to two files; return their paths."""
    return _write(folder, "server", name)


def write_client(folder: Path) -> tuple[str, str]:
    """Write a client's certificate and its private key to two files; return their paths."""
    return _write(folder, "client", "client.example")


def _write(folder: Path, whose: str, name: str) -> tuple[str, str]:
    issued = authority().issue_cert(name)
    chain, key = folder / f"{whose}.pem", folder / f"{whose}-key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return str(chain), str(key)


def write_hashed(folder: Path) -> None:
    """Write the authority's certificate under the name by which OpenSSL looks for it in a directory."""
    plain = write_authority(folder)
    command = ["openssl", "x509", "-noout", "-hash", "-in", plain]
    hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    os.rename(plain, folder / f"{hashed}.0")
