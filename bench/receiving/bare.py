"""The least that a server can do: read a request, answer 202. What the load reaches against it is the load's own ceiling.

python bench/receiving/bare.py    (prints its port on a line, serves until SIGTERM)
"""

import socket

import uvicorn
from starlette.types import Receive, Scope, Send

_BODY = b'{"id":"0197b1f0-6d1e-7c3a-9f7e-3a5de1a0c001","status":"accepted"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, without a look at what came."""
    while (await receive()).get("more_body"):
        continue
    await send({"type": "http.response.start", "status": 202, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)).run(sockets=[listener])
