"""POST /responses, whole and streamed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from ._answers import Answer, Frame, Stream, compact, event, refused
from ._bodies import fields_of, images_in, said
from ._moderation import MODERATION_MODEL, result
from ._replies import Reply, Said, plan

__all__ = ["responses"]

_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "user": None,
}
#: ``response.created`` and ``response.in_progress`` do not wait for the model.
_EARLY = 2


def responses(body: Any, number: int, reply: Reply) -> Answer | Stream:
    """Answer a request to the Responses API.

    Raises:
        Refused: With 400, for a request without input or with an impossible cap.
    """
    fields = fields_of(body)
    if not fields.get("input"):
        raise refused("Missing required parameter: 'input'.", "input")
    spoken = plan(reply, fields, fields.get("max_output_tokens"))[0]
    response = _Response(fields, number, spoken)
    if fields.get("stream"):
        return Stream(response.frames(), _EARLY, response.failed)
    return Answer(compact(response.done()), tokens=len(spoken.tokens))


class _Response:
    """One response, at any time of its life."""

    def __init__(self, fields: dict[str, Any], number: int, spoken: Said) -> None:
        self._fields = fields
        self._spoken = spoken
        self._item_id = f"msg_{number:032x}"
        self._sequence = itertools.count()
        echoed = {name: fields.get(name, default) for name, default in _ECHOED.items()}
        self._head = {
            "id": f"resp_{number:032x}",
            "object": "response",
            "created_at": int(time.time()),
            "model": fields.get("model") or "fake-model",
            **echoed,
        }

    def begun(self) -> dict[str, Any]:
        """The response before its first token."""
        extra: dict[str, Any] = {
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        return {**self._head, "status": "in_progress", **extra}

    def done(self) -> dict[str, Any]:
        """The response at its end."""
        capped = self._spoken.capped
        return {
            **self.begun(),
            "status": "incomplete" if capped else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if capped else None,
            "output": [self._item([self._part(self._spoken.text)])],
            "usage": self._usage(),
            **self._moderation(),
        }

    def failed(self, code: str, message: str) -> bytes:
        """The event of a response that broke off."""
        error = {"code": code, "message": message}
        broken = {**self.begun(), "status": "failed", "error": error}
        return self._event("response.failed", response=broken)

    def frames(self) -> Iterator[Frame]:
        """The events of the stream."""
        yield Frame(self._event("response.created", response=self.begun()))
        yield Frame(self._event("response.in_progress", response=self.begun()))
        item = {**self._item([]), "status": "in_progress"}
        of_part = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        yield Frame(
            self._event("response.output_item.added", output_index=0, item=item)
            + self._event("response.content_part.added", **of_part, part=self._part(""))
        )
        delta = self._deltas(of_part)
        for token in self._spoken.tokens:
            yield Frame(delta(token), tokens=1)
        text, item = self._spoken.text, self._item([self._part(self._spoken.text)])
        yield Frame(
            self._event("response.output_text.done", **of_part, text=text, logprobs=[])
            + self._event("response.content_part.done", **of_part, part=self._part(text))
            + self._event("response.output_item.done", output_index=0, item=item)
        )
        done = self.done()
        yield Frame(self._event(f"response.{done['status']}", response=done))

    def _deltas(self, of_part: dict[str, Any]) -> Callable[[str], bytes]:
        # Tokens are the hot path of a benchmark: all but what changes is encoded once.
        name = "response.output_text.delta"
        rest = json.dumps({**of_part, "logprobs": []}, separators=(",", ":"))[1:]
        head = f'event: {name}\ndata: {{"type":"{name}","sequence_number":'

        def delta(token: str) -> bytes:
            number = next(self._sequence)
            return f'{head}{number},"delta":{json.dumps(token)},{rest}\n\n'.encode()

        return delta

    def _event(self, name: str, **fields: Any) -> bytes:
        return event({"type": name, "sequence_number": next(self._sequence), **fields}, name)

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        status = "incomplete" if self._spoken.capped else "completed"
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _usage(self) -> dict[str, Any]:
        read, written = len(said(self._fields["input"]).split()), len(self._spoken.tokens)
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }

    def _moderation(self) -> dict[str, Any]:
        wanted = self._fields.get("moderation")
        if not wanted:
            return {}
        heard = self._fields["input"]
        kind = {
            "type": "moderation_result",
            "model": fields_of(wanted).get("model") or MODERATION_MODEL,
        }
        of_input = result([said(heard)], images_in(heard))
        of_output = result([self._spoken.text], [])
        return {"moderation": {"input": {**kind, **of_input}, "output": {**kind, **of_output}}}
