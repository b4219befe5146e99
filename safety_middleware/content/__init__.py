"""Everything a client says in a request, found strictly and held to the policy; no I/O here."""

from __future__ import annotations

from .check import check
from .extract import extract
from .model import Content, FormField, FormReader, Image, Part, RawRequest

__all__ = [
    "Content",
    "FormField",
    "FormReader",
    "Image",
    "Part",
    "RawRequest",
    "check",
    "extract",
]
