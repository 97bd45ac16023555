"""Ports of this machine: whether one can be had, and free ones.

What belongs here: looking at ports. What does not: which service listens where (`operate.services`).
"""

import random
import socket

from cmms_pipelines.domain.errors import PermanentError

# Below the range from which Linux takes the ports of outgoing connections (32768 and up): a port found free stays free.
_LOWEST, _HIGHEST = 20_000, 32_000
_ATTEMPTS = 200


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen on `port` of `host` now; a port whose old connections only linger counts as free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def claim(host: str, port: int, *, service: str, variable: str) -> int:
    """Return `port`, or a free one where it is 0.

    Raises:
        PermanentError: the port is taken, or the host is not one of this machine; the message names service and variable.
    """
    if port == 0:
        return free_port(host)
    if not is_free(host, port):
        raise PermanentError(
            f"Port {port} of {host} is taken, so the {service} cannot start: stop what uses it, "
            f"or set {variable} to another port (0 picks a free one)."
        )
    return port


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on.

    Raises:
        PermanentError: none was found, which means that `host` is no address of this machine.
    """
    for port in random.sample(range(_LOWEST, _HIGHEST), _ATTEMPTS):
        if is_free(host, port):
            return port
    raise PermanentError(f"No port of {host} could be had: is it an address of this machine?")
