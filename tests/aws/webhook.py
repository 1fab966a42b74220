"""A token webhook as EKS has one: it sends the signed request that a token is, and takes the answer for who it is.

It asks what aws-iam-authenticator asks: the prefix, the action, the signed header with the cluster's name, and that the
signature ends soon. Then the caller may do everything; what a caller may do is not what this is about.
"""

import base64
import json
import re
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, STS = int(sys.argv[1]), sys.argv[2]
CLUSTER = "shop"


def caller(token):
    prefix, _, text = token.partition("k8s-aws-v1.")
    if prefix or not text:
        raise ValueError("another kind of token")
    url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    if not url.startswith(STS + "/"):
        raise ValueError(f"signed for {url.split('?')[0]}")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    if query.get("Action") != ["GetCallerIdentity"]:
        raise ValueError("another action")
    signed = query["X-Amz-SignedHeaders"][0].split(";")
    if sorted(signed) != ["host", "x-k8s-aws-id"]:
        raise ValueError(f"signed headers are {signed}")
    if not 0 < int(query["X-Amz-Expires"][0]) <= 900:
        raise ValueError("it lasts too long")
    if not re.fullmatch("[0-9a-f]{64}", query["X-Amz-Signature"][0]):
        raise ValueError("no signature")
    # moto finds the service by this header, and not by the address's own parameters.
    scope = query["X-Amz-Credential"][0]
    routed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-k8s-aws-id, Signature=-"
    request = urllib.request.Request(url, headers={"x-k8s-aws-id": CLUSTER, "Authorization": routed})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return re.search("<Arn>(.*?)</Arn>", answer.read().decode()).group(1)


class Handler(BaseHTTPRequestHandler):
    def say(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.say(200, {})

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            user = {"username": caller(review["spec"]["token"]), "groups": ["system:masters"]}
            status = {"authenticated": True, "user": user}
        except Exception as error:  # whatever is wrong with a token, nobody is let in
            status = {"authenticated": False, "error": str(error)}
        self.say(200, {"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status})


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
