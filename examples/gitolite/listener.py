"""Prints what shipit tells a webhook, once its signature holds. Usage: listener.py PORT SECRET_FILE"""

import base64
import hashlib
import hmac
import http.server
import json
import sys

with open(sys.argv[2], encoding="utf-8") as file:
    KEY = base64.b64decode(file.read().strip().removeprefix("whsec_"))


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        tag = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        is_ours = f"v1,{tag}" in self.headers["webhook-signature"].split()
        if is_ours:
            told = json.loads(body)["data"]
            print(f"told: {told['event']}: {told['summary']}", flush=True)
        self.send_response(204 if is_ours else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Listener)
print(f"listens on {server.server_port}", flush=True)
server.serve_forever()
