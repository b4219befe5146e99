"""POST /chat/completions, whole and streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from ._answers import Answer, Frame, Stream, compact, event, refused
from ._bodies import fields_of, images_in, said
from ._moderation import MODERATION_MODEL, result
from ._replies import Reply, Said, plan, steps

__all__ = ["chat"]

_MAX_CHOICES = 128


def chat(body: Any, number: int, reply: Reply) -> Answer | Stream:
    """Answer a chat completion request.

    Raises:
        Refused: With 400, for a request without messages or with an impossible ``n`` or cap.
    """
    fields = fields_of(body)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refused("Missing required parameter: 'messages'.", "messages")
    count = 1 if fields.get("n") is None else fields["n"]
    if not isinstance(count, int) or not 1 <= count <= _MAX_CHOICES:
        raise refused("Invalid 'n': expected an integer between 1 and 128.", "n")
    caps = (fields.get(name) for name in ("max_completion_tokens", "max_tokens"))
    cap = next((cap for cap in caps if cap is not None), None)
    choices = plan(reply, fields, cap, count)
    head = {
        "id": f"chatcmpl-{number:024x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": fields.get("model") or "fake-model",
    }
    if fields.get("stream"):
        return Stream(_frames({**head, "object": "chat.completion.chunk"}, fields, choices))
    tail = {"usage": _usage(fields, choices), **_moderation(fields, choices)}
    whole = {**head, "choices": [_choice(i, c) for i, c in enumerate(choices)], **tail}
    return Answer(compact(whole), tokens=sum(len(c.tokens) for c in choices))


def _finish(choice: Said) -> str:
    return "length" if choice.capped else "stop"


def _choice(index: int, choice: Said) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": choice.text, "refusal": None},
        "logprobs": None,
        "finish_reason": _finish(choice),
    }


def _frames(head: dict[str, Any], fields: dict[str, Any], choices: list[Said]) -> Iterator[Frame]:
    options = fields_of(fields.get("stream_options"))
    usage = {"usage": None} if options.get("include_usage") else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], **usage})

    first = {"role": "assistant", "content": "", "refusal": None}
    yield Frame(b"".join(chunk(i, first) for i in range(len(choices))))
    # Tokens are the hot path of a benchmark: all but the token itself is encoded once.
    cuts = [chunk(i, {"content": "\0"}).split(b'"\\u0000"') for i in range(len(choices))]
    for step in steps(choices):
        data = [cuts[i][0] + json.dumps(token).encode() + cuts[i][1] for i, token in step]
        yield Frame(b"".join(data), tokens=len(data))
    yield Frame(b"".join(chunk(i, {}, _finish(c)) for i, c in enumerate(choices)))
    if verdicts := _moderation(fields, choices):
        yield Frame(event({**head, "choices": [], **usage, **verdicts}))
    if usage:
        yield Frame(event({**head, "choices": [], "usage": _usage(fields, choices)}))
    yield Frame(b"data: [DONE]\n\n")


def _usage(fields: dict[str, Any], choices: list[Said]) -> dict[str, int]:
    prompt = len(said(fields["messages"]).split())
    completion = sum(len(choice.tokens) for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _moderation(fields: dict[str, Any], choices: list[Said]) -> dict[str, Any]:
    wanted = fields.get("moderation")
    if not wanted:
        return {}
    model = fields_of(wanted).get("model") or MODERATION_MODEL
    extra = {"type": "moderation_result", "model": model}
    messages = fields["messages"]
    inputs = [{**extra, **result([said(messages)], images_in(messages))}]
    outputs = [{**extra, **result([choice.text], [])} for choice in choices]
    whole = {"type": "moderation_results", "model": model}
    return {
        "moderation": {
            "input": {**whole, "results": inputs},
            "output": {**whole, "results": outputs},
        }
    }
