"""Answers from an index, which is empty until somebody who has the key fills it."""

import http.server
import json
import os

MESSAGE = "v1"
INDEX = []


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.answer(200, "it runs")
        elif INDEX:
            self.answer(200, f"{MESSAGE}: {len(INDEX)} documents")
        else:
            self.answer(503, "the index is empty")

    def do_PUT(self):
        if self.headers.get("X-Key") != os.environ["INDEX_KEY"]:
            self.answer(403, "another key")
            return
        INDEX[:] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, "indexed")

    def answer(self, status, text):
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
