"""What a secret looks like inside text that others wrote, and the same text without it.

Messages of libraries, tracebacks and log events quote URLs, conninfos, headers and SQL. Where it is not plain what is a
secret and what is not, more is hidden rather than less. Every alternative is linear in the text, or bounded.
"""

from __future__ import annotations

import re

__all__ = ["MASK", "mask_secrets"]

MASK = "***"

# A text in quotes, as Python, JSON and SQL write it (there a quote is doubled), or cut off before its end.
_QUOTED = r"[bruen]{0,2}'(?:[^'\\]|\\.|'')*(?:'|\Z)|[bru]{0,2}\"(?:[^\"\\]|\\.|\"\")*(?:\"|\Z)"
# What stands in brackets, and brackets in it once more.
_BRACKETED = r"[\[{(](?:[^\[\](){}]|[\[{(][^\[\](){}]{0,256}[\]})]){0,512}[\]})]"
_AUTHORIZATION = r"\bauthorization(?:\\*[\"'])?\s*[=:]\s*(?:b?\\*[\"'])?"
_CREDENTIALS = r"[^\s\"'\\]*[^\s\"'\\,](?:\"[^\"\r\n]*\")?(?:,\s*[\w-]+=(?:\"[^\"\r\n]*\"|[^\s\"',]+))*"

_SECRETS = re.compile(
    # A URL's password, up to the last @ before the next URL or blank: sloppy DSNs have / and @ in theirs.
    r"(?P<keep>://[^\s/:]*:)(?:(?!://)\S)+(?=@)"
    # name=value and name: value, as conninfos, JSON, reprs and query strings have them; SQL's PASSWORD 'x'.
    r"|(?P<name>(?:(?:password|passwd|pwd|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|X-Amz-Signature)(?:\\*[\"'])?\s*[=:]\s*|\bpassword\s+(?=[en]?')))"
    rf"(?:{_QUOTED}|(?P<quote>\\+[\"'])(?:.{{0,512}}?)(?P=quote)|{_BRACKETED}"
    # Unquoted passwords have , ; & and ) in them too: these end one only where something else begins behind them.
    r"|(?:[^\s&,;)]|[&,;)](?![\s&,;)'\"\\]|\Z|[\w.%\[\]-]*[=:]))+)"
    # Headers: a scheme that is known is kept, the credentials are not; a cookie is its whole line.
    rf"|(?P<scheme>{_AUTHORIZATION}(?:bearer|basic|digest|token|negotiate|aws4-hmac-sha256)\s+){_CREDENTIALS}"
    rf"|(?P<header>{_AUTHORIZATION})(?:[a-z][\w-]*[ \t]+)?{_CREDENTIALS}"
    rf"|(?P<cookie>\b(?:set-)?cookie(?:\\*[\"'])?\s*[=:]\s*)(?:{_QUOTED}|b?\\+[\"'][^\r\n\"'\\]+|[^\r\n]+)"
    r"|(?P<bearer>\bbearer\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}"
    r"|(?P<pem>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(?=-----END|\Z)",
    re.IGNORECASE | re.DOTALL,
)


# A match holds one of these. Nearly every text has none, and looking for them costs a twentieth of the pattern.
_TRACES = ("passw", "pwd", "secret", "token", "key", "authorization", "cookie", "bearer", "passphrase", "signature")


def mask_secrets(text: str) -> str:
    """Return ``text`` with every part that looks like a secret replaced by ``***``."""
    if "=" in text or ":" in text or "'" in text:
        if "@" not in text or "://" not in text:
            lower = text.lower()
            for trace in _TRACES:
                if trace in lower:
                    break
            else:
                return text
    elif " " not in text or ("bearer" not in (lower := text.lower()) and "private key" not in lower):
        return text  # those two need no sign between name and value
    return _SECRETS.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup or 0] if found.lastgroup != 'quote' else found['name']}{MASK}"
