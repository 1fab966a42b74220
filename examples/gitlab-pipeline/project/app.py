"""Answers every request with one line."""

import http.server
import os

MESSAGE = "v1"


def answer(commit):
    return f"{MESSAGE} of {commit[:8]}"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        from version import COMMIT

        body = f"{answer(COMMIT)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    host = os.environ.get("HOST", "127.0.0.1")
    Server((host, int(os.environ["PORT"])), Answer).serve_forever()
