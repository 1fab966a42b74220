"""A mail server on this machine that keeps each letter as a file: its envelope, and its text."""

import json
import os
import signal
import socket
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

FOLDER, PASSWORD = sys.argv[1:]


class Keeper:
    """Keeps what comes."""

    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keeper.count += 1
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "user": session.auth_data.login.decode(),
            "text": envelope.content.decode().replace("\r\n", "\n"),
        }
        path = os.path.join(FOLDER, f"{Keeper.count:05}.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(letter, file)
        os.rename(path + ".new", path)
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    """Whether somebody may come in."""
    right = data.login == b"ship" and data.password == PASSWORD.encode()
    return AuthResult(success=right, handled=False, auth_data=data)


# The controller asks its own port whether it is up, and so has to know it before.
with socket.create_server(("127.0.0.1", 0)) as held:
    port = held.getsockname()[1]
controller = Controller(
    Keeper(),
    hostname="127.0.0.1",
    port=port,
    authenticator=authenticate,
    auth_required=True,
    auth_require_tls=False,
)
controller.start()
print(f"127.0.0.1:{port}", flush=True)
signal.pause()
