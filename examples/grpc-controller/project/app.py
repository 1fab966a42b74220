"""Answers every request with one line."""

import http.server
import os

MESSAGE = "v1"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{MESSAGE}\n".encode())

    def log_message(self, *_):
        pass


port = int(os.environ["PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
