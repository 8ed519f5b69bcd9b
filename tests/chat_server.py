"""An OpenAI-compatible chat server on 127.0.0.1 that answers with scripted replies and keeps what it was asked."""
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers each chat request with the next scripted reply and keeps the requests; a function of the handler answers by itself."""

    def __init__(self, *replies):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.replies, self.requests = list(replies), []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers.get("Authorization"), body))
        reply = self.server.replies.pop(0)
        if callable(reply):
            with suppress(OSError):                     # the client did not wait
                reply(self)
            return
        if isinstance(reply, float):
            time.sleep(reply)
            reply = "too late"
        status, payload = reply if isinstance(reply, tuple) else (200, completion(content=reply))
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass                                    # the client did not wait

    def log_message(self, *_):
        pass


def completion(**message) -> dict:
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]}
