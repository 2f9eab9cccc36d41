"""Where to push to: an application entity, or a DICOMweb service."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mrunfold.errors import InputError

__all__ = ["Peer", "Tls", "Web", "parse_peer", "parse_url", "tls_context"]

# DICOM PS3.5: an application entity's title has up to 16 characters, no backslash, no control characters.
TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")


@dataclass(frozen=True)
class Tls:
    """Transport security: authority: CA certificates (PEM), the system's where None; own: this side's
    certificate and key, where the peer asks for one."""

    authority: Path | None = None
    own: tuple[Path, Path] | None = None


@dataclass(frozen=True)
class Peer:
    """An application entity `title` at host:port; calling: the title that this side gives."""

    title: str
    host: str
    port: int
    calling: str = "MRUNFOLD"
    tls: Tls | None = None

    @property
    def name(self) -> str:
        """AET@host:port."""
        return f"{self.title}@{self.host}:{self.port}"

    @property
    def open_to_others(self) -> bool:
        """Whether what is sent can be read on the way."""
        return self.tls is None and not self.on_this_machine

    @property
    def on_this_machine(self) -> bool:
        """Whether host names this machine."""
        return _is_this_machine(self.host)


@dataclass(frozen=True)
class Web:
    """A DICOMweb service: its URL, to which /studies is added; authorization: the value of that header."""

    url: str
    authorization: str | None = None
    tls: Tls | None = None

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    @property
    def open_to_others(self) -> bool:
        """Whether what is sent can be read on the way."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _is_this_machine(parts.hostname or "")


def parse_peer(text: str, calling: str = "MRUNFOLD", tls: Tls | None = None) -> Peer:
    """Return the Peer of `AET@host:port`, or raise InputError."""
    title, at, place = text.partition("@")
    host, colon, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (at and colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(f"`to` {text}: write AET@host:port, for example ORTHANC@localhost:4242")
    for one in (title, calling):
        if not TITLE.fullmatch(one):
            raise InputError(f"'{one}' is no application entity title: 1 to 16 characters, no backslash")
    return Peer(title, host, int(port), calling, tls)


def parse_url(text: str, authorization: str | None = None, tls: Tls | None = None) -> Web:
    """Return the Web service at an http or https URL, or raise InputError."""
    parts = urlsplit(text)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise InputError(f"`dicomweb` {text}: give the service's address, as https://host/dicom-web")
    if parts.username or parts.password:
        raise InputError(
            "`dicomweb`: a password in the address would be seen by others; set MRUNFOLD_DICOMWEB_AUTH to "
            "the Authorization header's value instead, as 'Bearer …'"
        )
    if authorization is not None and not re.fullmatch(r"[ -~]+", authorization):
        raise InputError("MRUNFOLD_DICOMWEB_AUTH holds characters that no HTTP header may have")
    if tls is not None and parts.scheme == "http":
        raise InputError(f"`dicomweb` {text}: TLS needs an address that begins with https://")
    return Web(text.rstrip("/"), authorization, tls)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that checks the peer's certificate; InputError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=None if tls.authority is None else str(tls.authority))
        if tls.own is not None:
            context.load_cert_chain(str(tls.own[0]), str(tls.own[1]))
    except (ssl.SSLError, OSError) as error:
        named = ", ".join(str(p) for p in (tls.authority, *(tls.own or ())) if p is not None)
        raise InputError(
            f"cannot use the TLS files {named} ({error.strerror or error}); give PEM files"
        ) from None
    return context


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
