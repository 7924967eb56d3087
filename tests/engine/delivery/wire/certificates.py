"""Certificates made for a test."""

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def needs_openssl() -> None:
    """Skips a test on a machine without the program; fails in CI, which has it."""
    if shutil.which("openssl") is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("the program openssl is missing")


def certified(folder: Path, name: str, *, days: int = 1) -> tuple[ssl.SSLContext, Path]:
    """The context of a server with a certificate that nobody signed, and the certificate."""
    needs_openssl()
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", str(days)]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request, *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
