"""Rules for names, in Kubernetes' words. Pure.

Path: validate_*.py → [names].

Each function returns the complaints; no complaint = a good name.

Source: Kubernetes API conventions (RFC 1035 and 1123 labels, qualified names); spec/serving.md §5.3.
"""

import re

_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL_1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL_1123 + r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"


def _complaint(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


_SAYS_1035 = _complaint(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_SAYS_1123 = _complaint(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character",
    _LABEL_1123,
    "my-name",
    "123-abc",
)
_SAYS_SUBDOMAIN = _complaint(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_SAYS_QUALIFIED = "name part " + _complaint(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_SAYS_CONFIG_KEY = _complaint(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)


def _check(text: str, pattern: str, chars_max: int, says: str) -> list[str]:
    # Cut first: the patterns are linear on short text, and longer text is wrong anyway.
    fits = re.fullmatch(pattern, text[: chars_max + 1], re.ASCII) is not None
    too_long = [] if len(text) <= chars_max else [f"must be no more than {chars_max} characters"]
    return too_long + ([] if fits else [says])


def dns1035_label(text: str, *, prefix: bool = False) -> list[str]:
    """`prefix`: a generateName, which may end in a dash."""
    if prefix and len(text) > 1 and text.endswith("-"):
        text = text[:-2] + "a"
    return _check(text, _LABEL_1035, 63, _SAYS_1035)


def dns1123_label(text: str) -> list[str]:
    return _check(text, _LABEL_1123, 63, _SAYS_1123)


def dns1123_subdomain(text: str) -> list[str]:
    return _check(text, _SUBDOMAIN, 253, _SAYS_SUBDOMAIN)


def qualified_name(text: str) -> list[str]:
    """`name` or `example.com/name`."""
    prefix, slash, name = text.rpartition("/")
    complaints: list[str] = []
    if slash:
        if not prefix:
            complaints.append("prefix part must be non-empty")
        else:
            complaints.extend("prefix part " + says for says in dns1123_subdomain(prefix))
    if not name:
        return [*complaints, "name part must be non-empty", _SAYS_QUALIFIED]
    if len(name) > 63:
        complaints.append("name part must be no more than 63 characters")
    if not re.fullmatch(_QUALIFIED, name[:64], re.ASCII):
        complaints.append(_SAYS_QUALIFIED)
    return complaints


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret: it may become a file name."""
    complaints = _check(text, _CONFIG_KEY, 253, _SAYS_CONFIG_KEY)
    if text in (".", ".."):
        complaints.append(f"must not be '{text}'")
    elif text.startswith(".."):
        complaints.append("must not start with '..'")
    return complaints
