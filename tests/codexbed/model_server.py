"""A model on loopback: answers `/v1/responses` with server-sent events and records what it saw."""

from __future__ import annotations

import gzip
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import zstandard

Item = Mapping[str, Any]
Answer = Callable[[Mapping[str, Any]], Iterable[Item]]

SUMMARY_TEXT = "SUMMARY: what was said so far"
_AGENT_ENDED = "<subagent_notification>"
_COMPACTION_MARK = "CONTEXT CHECKPOINT COMPACTION"
_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": None,
    "output_tokens": 5,
    "output_tokens_details": None,
    "total_tokens": 15,
}


def message(text: str) -> Item:
    """Return an assistant message as an output item."""
    return {
        "type": "message",
        "role": "assistant",
        "id": f"msg_{uuid.uuid4().hex}",
        "content": [{"type": "output_text", "text": text}],
    }


def function_call(name: str, arguments: Mapping[str, Any], namespace: str | None = None) -> Item:
    """Return a tool call as an output item."""
    item = {
        "type": "function_call",
        "id": f"fc_{uuid.uuid4().hex}",
        "call_id": f"call_{uuid.uuid4().hex}",
        "name": name,
        "arguments": json.dumps(arguments),
    }
    return item if namespace is None else {**item, "namespace": namespace}


def item_text(item: Item) -> str:
    """Return the text of a message item."""
    content = item.get("content") or []
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def last_user_text(body: Mapping[str, Any]) -> str:
    """Return the text of the last message of a request that the user has sent.

    What Codex tells of an agent's end is a user's message too, and is there from when it ended.
    """
    for item in reversed(body.get("input") or []):
        if item.get("type", "message") == "message" and item.get("role") == "user":
            text = item_text(item)
            if not text.startswith(_AGENT_ENDED):
                return text
    return ""


def is_compaction(body: Mapping[str, Any]) -> bool:
    """Tell whether a request asks for a summary of the conversation."""
    return _COMPACTION_MARK in last_user_text(body)


@dataclass
class _Script:
    when: str | None
    items: tuple[Item, ...]


@dataclass
class _Player:
    """Answers all requests of the turns whose user text has `when`."""

    when: str
    answer: Answer


@dataclass
class ModelServer:
    """A scripted model; use it as a context manager.

    Without a script every request is answered with `answer to: <last user text>`.
    """

    requests: list[dict[str, Any]] = field(default_factory=list)
    _scripts: list[_Script] = field(default_factory=list)
    _players: list[_Player] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _http: ThreadingHTTPServer | None = None

    @property
    def base_url(self) -> str:
        """The provider's base address."""
        if self._http is None:
            raise RuntimeError("the model server is not running")
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def script(self, *items: Item, when: str | None = None) -> None:
        """Answer one request with `items`: the next one, or the next whose user text has `when`."""
        with self._lock:
            self._scripts.append(_Script(when, items))

    def play(self, answer: Answer, when: str) -> None:
        """Have `answer` answer every request whose user text has `when`."""
        with self._lock:
            self._players.append(_Player(when, answer))

    def requests_with(self, text: str) -> list[dict[str, Any]]:
        """Return the recorded requests whose last user text contains `text`."""
        with self._lock:
            return [body for body in self.requests if text in last_user_text(body)]

    def answer(self, body: dict[str, Any]) -> tuple[Item, ...]:
        """Record one request and return the output items that answer it."""
        text = last_user_text(body)
        with self._lock:
            self.requests.append(body)
            for script in self._scripts:
                if script.when is None or script.when in text:
                    self._scripts.remove(script)
                    return script.items
            player = next((one for one in self._players if one.when in text), None)
        if player is not None:
            return tuple(player.answer(body))
        if is_compaction(body):
            return (message(SUMMARY_TEXT),)
        return (message(f"answer to: {text}"),)

    def __enter__(self) -> Self:
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        # A client that never reads its answer must not keep the tests from ending.
        http.daemon_threads = True
        http.block_on_close = False
        self._http = http
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None


def _events(items: Iterable[Item]) -> bytes:
    response_id = f"resp_{uuid.uuid4().hex}"
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": response_id}}]
    events += [{"type": "response.output_item.done", "item": item} for item in items]
    done = {"id": response_id, "usage": _USAGE}
    events.append({"type": "response.completed", "response": done})
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


def _decoded(body: bytes, encoding: str | None) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body


def _handler_for(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test output clean."""

        def do_GET(self) -> None:
            self._send(200, "application/json", b'{"object":"list","data":[]}')

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.path.split("?")[0].endswith("/responses"):
                self._send(404, "application/json", b'{"error":{"message":"not scripted"}}')
                return
            body = json.loads(_decoded(raw, self.headers.get("Content-Encoding")))
            self._send(200, "text/event-stream", _events(server.answer(body)))

        def _send(self, status: int, kind: str, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

    return Handler
