"""The address of a model server: what is refused, and where its questions go."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

_PATH = "/chat/completions"
_SECRETS = ("key", "token", "secret", "password", "signature", "sig")


def check_url(url: object) -> str:
    """Return where questions go: the address of the server, and its path for chats.

    url: with the version, as in "http://localhost:8000/v1".

    >>> check_url("http://localhost:8000/v1/")
    'http://localhost:8000/v1/chat/completions'

    Raises:
        ValueError: if it is no HTTP address, or holds a password or a key. That one is not shown.
    """
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ValueError(f"Endpoint.url must begin with http:// or https://, got {url!r}")
    parts = _split(url)
    if parts is None or not _is_host(parts.hostname or ""):
        raise ValueError(
            f"Endpoint.url must name a host, as in http://localhost:8000/v1, got {url!r}"
        )
    if "@" in parts.netloc or any(map(_is_secret, parse_qsl(parts.query))):
        raise ValueError(
            "Endpoint.url holds a password or a key; put it into an environment variable, and "
            "that one's name into Endpoint.api_key_env"
        )
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def is_loopback(url: str) -> bool:
    """Tell whether an address is on this machine.

    >>> is_loopback("http://127.0.0.1:8000"), is_loopback("http://10.0.0.1:8000")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):  # a name, and no number
        return ip_address(host).is_loopback
    return False


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is checked when it is asked for
    except ValueError:
        return None
    return parts


def _is_host(name: str) -> bool:
    """Tell whether a name can be looked up; the socket would raise on another."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return name != "" and " " not in name


def _is_secret(pair: tuple[str, str]) -> bool:
    words = pair[0].lower().replace("-", "_").split("_")
    return any(word in _SECRETS or word == "apikey" for word in words)
