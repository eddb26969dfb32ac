"""Writes durations: 1.2 s, 3 min, 2 days. Pure."""


def ago(seconds: float) -> str:
    """A duration in its two largest units: 95 s is "1 min 35 s"."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def seconds_of(seconds: float) -> str:
    """A short duration to a tenth of a second, a long one as `ago` says it: 3.4 s, 2 min 5 s."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 99.95 else ago(seconds)
