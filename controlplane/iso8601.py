"""ISO 8601 durations (`PT0.2S`, `P1DT12H`), as Knative's delivery fields are written. Pure.

Path: admission/validate_delivery.py, compile_eventing.py → [iso8601].

Source: spec/eventing.md §10.2.
"""

import re

_DAY_S = 86400.0
_NUMBER = r"(\d{1,9}(?:[.,]\d{1,9})?)"
_DURATION = re.compile(
    rf"P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)
# Years and months are what they are on average.
_UNITS_S = (365.2425 * _DAY_S, 365.2425 * _DAY_S / 12, 7 * _DAY_S, _DAY_S, 3600.0, 60.0, 1.0)


def duration_s(text: str) -> float:
    """Seconds. Raises ValueError: what it is not, and what would be right."""
    parsed = _DURATION.fullmatch(text)
    if parsed is None or text[-1] in "PT":
        hint = (
            "it may not be negative"
            if text.startswith(("-", "+"))
            else "an ISO 8601 duration looks like PT0.2S or PT5M"
        )
        raise ValueError(hint)
    return sum(float(n.replace(",", ".")) * unit for n, unit in zip(parsed.groups(), _UNITS_S, strict=True) if n)
