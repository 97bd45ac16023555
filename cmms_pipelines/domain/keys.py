"""Keys that systems spell differently. No pandas here: the run that applies an event must start fast."""


def without_alpha_zeros(key: str) -> str:
    """Return a key under SAP's ALPHA rule: leading zeros go, but only from a key that is all digits (quirk 1)."""
    return (key.lstrip("0") or "0") if key.isascii() and key.isdigit() else key
