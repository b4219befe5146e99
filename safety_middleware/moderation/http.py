"""Our own connections to the moderation endpoint. Imports aiohttp, so it is imported at start."""

from __future__ import annotations

import json
from io import BytesIO

import aiohttp

from safety_middleware.errors import ModerationUnavailable

from .endpoint import Endpoint
from .settings import DeskSettings
from .transport import MAX_BODY, Input, LostError, Reply

__all__ = ["HttpTransport"]

# after this long unused, in seconds, a connection is closed rather than kept
_KEEP = 60.0
# in bytes; ``aiohttp.payload.TOO_LARGE_BYTES_BODY`` is twice that
_LARGE = 512 * 1024


class HttpTransport:
    """Keeps connections open, follows no redirects, sends no cookies. One event loop only."""

    def __init__(self, endpoint: Endpoint, settings: DeskSettings) -> None:
        self._endpoint = endpoint
        self._model = settings.model
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections, keepalive_timeout=_KEEP, ttl_dns_cache=60
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "safety-middleware",
                **endpoint.headers,
            },
            # half the time to connect leaves the other half for a second attempt
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout / 2),
            auto_decompress=False,
        )

    async def post(self, asked: Input, seconds: float) -> Reply:  # noqa: ARG002  # the caller's timeout ends it
        """Send one request.

        Raises:
            LostError: If no answer came over the connection.
            ModerationUnavailable: If the answer is not HTTP, or is endless.
        """
        body = json.dumps({"model": self._model, "input": asked}, ensure_ascii=False).encode()
        # aiohttp warns of large bodies given as bytes, as it would write them at once
        data = body if len(body) < _LARGE else BytesIO(body)
        try:
            async with self._session.post(
                self._endpoint.url, data=data, proxy=self._endpoint.proxy, allow_redirects=False
            ) as answer:
                return Reply(answer.status, answer.headers, await _bounded(answer.content))
        except aiohttp.ClientConnectorError:
            raise LostError(idle=False) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            raise LostError(idle=True) from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            raise LostError(idle=False) from None
        except aiohttp.ClientError:
            # not HTTP, or more headers than anyone sends
            raise ModerationUnavailable("malformed") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in content.iter_any():
        size += len(piece)
        if size > MAX_BODY:
            raise ModerationUnavailable("malformed")
        pieces.append(piece)
    return b"".join(pieces)
