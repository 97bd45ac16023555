"""A real mail server, a real HTTP sink, and a system whose clock the test turns."""

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.fernet import Fernet, MultiFernet

from cmms_pipelines.notify.rounds import MoreSigns, Round, make_round, nothing_more
from cmms_pipelines.operate.ports import free_port
from cmms_pipelines.storage.alert_configuration import write_alert_configuration
from cmms_pipelines.storage.alerts import find_many
from cmms_pipelines.storage.configurations import read_configurations
from tests.conftest import Database

UI = "https://cmms.example.org"
SECRET = "Tr0ub4dor-and-3"


class MailServer:
    """Takes mails on a free port; `stop` and `start` keep the port."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.refusal: str | None = None
        self.port = free_port()
        self.start()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refusal:
            return self.refusal
        self.mails.append(message_from_bytes(bytes(envelope.content or b"")))
        return "250 OK"

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?mode=insecure&from=cmms@example.org&to=ops@example.org&format=text"

    def subjects(self) -> list[str]:
        return [str(make_header(decode_header(mail["Subject"]))) for mail in self.mails]

    def text(self, number: int = -1) -> str:
        mail = self.mails[number]
        part = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        return content.decode()


class Sink:
    """Takes JSON over HTTP; answers `status`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.requests = 0
        self.status = 200
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.requests += 1
                if sink.status == 200:
                    sink.bodies.append(orjson.loads(body))
                self.send_response(sink.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"json://cmms:{SECRET}@127.0.0.1:{self._server.server_port}/hook/{SECRET}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class World:
    """A database with alerts, its clock, and the channels `mail` and `chat`."""

    database: Database
    mail: MailServer
    chat: Sink
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    box: MultiFernet = field(default_factory=lambda: MultiFernet([Fernet(Fernet.generate_key())]))
    environment: dict[str, str] = field(default_factory=dict)

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - any part of the configuration
        self.environment["OPS_MAIL_URL"] = self.mail.url
        given = {
            "channels": {"mail": {"url_env": "OPS_MAIL_URL"}, "chat": {"url": self.chat.url}},
            "routes": {"critical": ["mail", "chat"], "high": ["mail"]},
            **changes,
        }
        with self.database.engine.begin() as connection:
            write_alert_configuration(connection, self.box, given, actor="tests")

    def look(self, minutes: float = 0, more_signs: MoreSigns = nothing_more) -> Round:
        """Make a round so many minutes later."""
        self.now += dt.timedelta(minutes=minutes)
        return make_round(
            self.database.engine, self.box, self.environment, clock=lambda: self.now, dagster_url=UI, more_signs=more_signs
        )

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that stand, the oldest first."""
        with self.database.engine.connect() as connection:
            return find_many(connection)[::-1]

    def standing(self) -> dict[str, str]:
        return {row["fingerprint"]: row["severity"] for row in self.alerts()}

    def stored_configuration(self) -> str:
        with self.database.engine.connect() as connection:
            (found,) = read_configurations(connection, "alerts")
        return str(found.configuration)


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """Nothing is configured yet."""
    mail, chat = MailServer(), Sink()
    yield World(database, mail, chat)
    mail.stop()
    chat.close()
