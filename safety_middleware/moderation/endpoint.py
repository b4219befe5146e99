"""Where moderation requests go: URL, headers and proxy, as the OpenAI SDK would take them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from safety_middleware.errors import SettingsError

from .settings import DeskSettings

__all__ = ["Endpoint", "find_endpoint"]

OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    Attributes:
        url: Of the moderation resource.
        headers: Sent with every request; they hold the key.
        proxy: URL of an HTTP proxy, or None.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    proxy: str | None = field(repr=False)


def find_endpoint(settings: DeskSettings, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Resolve *settings* with the variables the OpenAI SDK reads, and the usual proxy variables.

    Raises:
        SettingsError: Without a key for OpenAI, or if a URL or a header value is impossible.
    """
    base = (settings.base_url or environ.get("OPENAI_BASE_URL") or OPENAI).strip().rstrip("/")
    parts = _url("base_url", base)
    key = (settings.api_key or environ.get("OPENAI_API_KEY") or "").strip()
    if not key and base == OPENAI:
        raise SettingsError("api_key", "there is no OpenAI API key", "Set OPENAI_API_KEY.")
    headers = {
        "Authorization": f"Bearer {key}" if key else "",
        "OpenAI-Organization": environ.get("OPENAI_ORG_ID", "").strip(),
        "OpenAI-Project": environ.get("OPENAI_PROJECT_ID", "").strip(),
    }
    for name, value in headers.items():
        if not (value.isascii() and (value.isprintable() or not value)):
            raise SettingsError(
                "api_key" if name == "Authorization" else name,
                "the value holds characters no HTTP header may hold",
                "Copy it again.",
            )
    used = {name: value for name, value in headers.items() if value}
    return Endpoint(f"{base}/moderations", used, _proxy(parts.scheme, parts.netloc))


def _url(setting: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # asking for the port checks it
        usable = parts.hostname and not parts.username and (parts.port or True)
    except ValueError:
        usable, parts = False, urlsplit("")
    if parts.scheme not in {"http", "https"} or not usable:
        raise SettingsError(
            setting,
            "it is not an http or https URL without a user name",
            f"Write it like {OPENAI} or leave it out.",
        )
    return parts


def _proxy(scheme: str, netloc: str) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise SettingsError(
            f"{scheme.upper()}_PROXY",
            "moderation cannot use this kind of proxy",
            "Use an HTTP proxy, put the host into NO_PROXY, or hand in an OpenAI client.",
        )
    return proxy
