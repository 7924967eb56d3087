"""Files that a database address names: certificates, keys and the service file, looked at before anything is tried."""

import configparser
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reportsim.store.errors import DatabaseMisconfigured

BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
FILES: Final = ("sslrootcert", "sslcrl", "sslcert", "sslkey", "passfile", "servicefile")


def system_certificates() -> str:
    """The bundle of certificates that this system trusts."""
    places = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *BUNDLES)
    for place in places:
        if place and os.access(place, os.R_OK):
            return place
    raise DatabaseMisconfigured("DATABASE_URL: sslrootcert=system: no certificates of the system were found")


def check_files(driver: Mapping[str, str]) -> None:
    """Looks at the files that an address names.

    Raises:
        DatabaseMisconfigured: one is not there, cannot be read, or is not what it should be.
    """
    for name in FILES:
        path = driver.get(name)
        if path and path != "system" and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise DatabaseMisconfigured(f"DATABASE_URL: {name}: {path} is not there or cannot be read")
    if driver.get("sslmode") not in {None, "disable"}:
        check_certificates(driver)
    if "service" in driver:
        check_service(driver)


def check_certificates(driver: Mapping[str, str]) -> None:
    """Loads the certificates once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        if driver.get(name, "system") != "system":
            try:
                context.load_verify_locations(cafile=driver[name])
            except OSError as error:
                raise DatabaseMisconfigured(f"DATABASE_URL: {name}: {driver[name]}: {error}") from error
    if "sslcert" in driver:
        try:
            context.load_cert_chain(driver["sslcert"], driver.get("sslkey"), lambda: driver.get("sslpassword", ""))
        except OSError as error:
            raise DatabaseMisconfigured(f"DATABASE_URL: sslcert: {driver['sslcert']}: {error}") from error


def check_service(driver: Mapping[str, str]) -> None:
    """A service that no file has would be left out without a word by the driver."""
    given = driver.get("servicefile") or os.environ.get("PGSERVICEFILE")
    path = Path(given) if given else Path.home() / ".pg_service.conf"
    services = configparser.ConfigParser()
    services.read(path)
    if driver["service"] not in services:
        raise DatabaseMisconfigured(f"DATABASE_URL: service: {path} has no service {driver['service']}")
