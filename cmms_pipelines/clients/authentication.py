"""The `Authorization` header of each kind of source; the only place that ever sees the token."""

import base64

from cmms_pipelines.domain.errors import PermanentError

MODES = ("raw", "bearer", "basic")
_TELLING_CHARACTERS = 4  # fewer of them tell nothing of a secret, and end many a text by chance


class Credentials:
    """A token and how it is sent. Neither shows in `repr`, and `scrub` takes both out of any text, though it be cut within."""

    def __init__(self, token: str, mode: str) -> None:
        """`basic` takes `user:password`. Raises `PermanentError` for a token that cannot be sent."""
        token = token.strip()
        if mode not in MODES:
            raise PermanentError(f"CMMS_API_AUTH is {mode!r}, not one of {', '.join(MODES)}")
        if not token:
            raise PermanentError("the external API needs a token: set CMMS_API_TOKEN")
        if mode == "basic" and ":" not in token:
            raise PermanentError("CMMS_API_AUTH=basic needs CMMS_API_TOKEN=user:password")
        if mode != "basic" and not (token.isascii() and token.isprintable()):
            raise PermanentError("CMMS_API_TOKEN has characters that no HTTP header can carry")
        self.mode = mode
        encoded = base64.b64encode(token.encode()).decode()
        self._header = {"raw": token, "bearer": f"Bearer {token}", "basic": f"Basic {encoded}"}[mode]
        password = token.partition(":")[2] if mode == "basic" else ""
        self._secrets = sorted(filter(None, {token, encoded, password}), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Credentials(mode={self.mode!r})"

    def headers(self) -> dict[str, str]:
        return {"Authorization": self._header}

    def scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        for secret in self._secrets:
            for length in range(len(secret) - 1, _TELLING_CHARACTERS - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + "***"
        return text
