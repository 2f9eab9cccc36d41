"""STOW-RS: one HTTP request an instance (PS3.18 section 10.5)."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from mrunfold.pacs.errors import Refused, Unreachable
from mrunfold.pacs.files import Instance, read_instance
from mrunfold.pacs.peer import Tls, Web, tls_context

__all__ = ["opener_of", "stow", "unreachable"]

STORED, FAILED = "00081199", "00081198"  # Referenced SOP Sequence, Failed SOP Sequence
UID, REASON = "00081155", "00081197"
LATER = {408, 429, 500, 502, 503, 504}
LONGEST_ANSWER = 1 << 20
NO_SUCH_CLASS = "0x0122"  # PS3.18 table I.2-2: the SOP class is not supported


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would repeat a POST as a GET, and carry the authorization to wherever it is sent."""

    def redirect_request(self, *_: Any) -> None:
        return None


def stow(
    instances: list[Instance], web: Web, timeout: float
) -> Iterator[tuple[Instance, Refused | str | None]]:
    """Send instances and yield each with a remark, or Refused.

    Raises Unreachable where the service does not answer, or will not talk to this side.
    """
    opener = opener_of(web)
    for instance in instances:
        read_instance(instance.path)
        yield instance, _post(opener, instance, web, timeout)


def opener_of(web: Web) -> Any:
    """Return what sends requests to the service, checks its certificate and follows it nowhere else."""
    handlers: list[Any] = [_NoRedirect()]
    if web.url.startswith("https://"):
        handlers.append(urllib.request.HTTPSHandler(context=tls_context(web.tls or Tls())))
    return urllib.request.build_opener(*handlers)


def unreachable(error: Exception) -> Unreachable:
    """Return what an error of the network means."""
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return Unreachable(
                f"its certificate is not trusted ({error.reason.verify_message})", "give `ca`", final=True
            )
        return Unreachable(f"no answer ({error.reason})")
    return Unreachable(f"the connection was lost ({type(error).__name__})")


def _post(opener: Any, instance: Instance, web: Web, timeout: float) -> Refused | str | None:
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + instance.path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    if web.authorization is not None:
        headers["Authorization"] = web.authorization
    request = urllib.request.Request(f"{web.url}/studies", body, headers, method="POST")
    try:
        with opener.open(request, timeout=timeout) as answer:
            return _outcome(instance, answer.read(LONGEST_ANSWER))
    except urllib.error.HTTPError as error:
        with error:
            return _http_error(instance, error)
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(error) from None


def _http_error(instance: Instance, error: urllib.error.HTTPError) -> Refused | str | None:
    code = error.code
    if code in (401, 403):
        raise Unreachable(f"it answers {code} {error.reason}", "set MRUNFOLD_DICOMWEB_AUTH", final=True)
    if code in LATER:
        raise Unreachable(f"it answers {code} {error.reason}")
    if code == 409:  # all failed; the body says why
        return _outcome(instance, error.read(LONGEST_ANSWER))
    if code in (404, 405) or 300 <= code < 400:
        raise Unreachable(
            f"it answers {code} {error.reason} at /studies", "give the address of its DICOMweb service", True
        )
    return Refused(f"it answers {code} {error.reason}")


def _outcome(instance: Instance, body: bytes) -> Refused | str | None:
    """Return what the answer says of this instance: confirmed only where it names its UID as stored."""
    try:
        answer = json.loads(body)
        stored = [_value(item, UID) for item in answer.get(STORED, {}).get("Value", [])]
        failed = [_value(item, REASON) for item in answer.get(FAILED, {}).get("Value", [])]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise Unreachable("its answer is not DICOM JSON", "give the address of a DICOMweb service") from None
    if instance.uid in stored:
        return None
    if failed:
        code = f"0x{int(failed[0]):04X}" if str(failed[0]).isdecimal() else "unknown"
        return Refused(f"failure reason {code}", whole_class=code == NO_SUCH_CLASS)
    raise Unreachable("its answer does not name the instance as stored")


def _value(item: dict[str, Any], tag: str) -> Any:
    return (item.get(tag, {}).get("Value") or [None])[0]
