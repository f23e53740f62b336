"""Serves the console's page and what belongs to it, read once at the start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

_FOLDER: Final = Path(__file__).parent / "static"
_PAGE: Final = "index.html"
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from another host, nothing inline, and no text that becomes markup."""
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Kept, but asked about each time (304): modules import each other by name, and must be of one version.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    etag: str
    media_type: str

    @classmethod
    def read(cls, path: Path) -> _Asset:
        body = path.read_bytes()
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', _MEDIA_TYPES[path.suffix])

    def answer(self, request: Request) -> Response:
        """The file, or that the client's copy of it is good (RFC 9110, 13.1.2)."""
        headers = {**_HEADERS, "etag": self.etag}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def console_router() -> APIRouter:
    """Routes of the page and its files; none of them is in the OpenAPI document, since they are for people."""
    assets = {path.name: _Asset.read(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _MEDIA_TYPES}
    router = APIRouter(include_in_schema=False)

    @router.get("/console")
    async def page(request: Request) -> Response:
        return assets[_PAGE].answer(request)

    @router.get("/console/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name == _PAGE or name not in assets:
            raise HTTPException(404)
        return assets[name].answer(request)

    return router
