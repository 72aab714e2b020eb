"""Times in words."""


def duration_text(seconds: float) -> str:
    """Return a time in its two largest units, below ten seconds with one digit."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    large, small, names = (
        (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (*divmod(whole // 60, 60), ("h", "min"))
    )
    parts = [f"{value} {unit}" for value, unit in zip((large, small), names, strict=True) if value]
    return " ".join(parts)
