"""Names that clients invent, made short, printable and stable.

A name of up to 128 characters of [A-Za-z0-9._~:@+-] stands for itself. Anything else (too long, a slash, a space, a
control character, anything beyond ASCII, only dots) is replaced by `x-` and 32 hex digits of its SHA-256: the same
bytes always give the same name, look-alikes give different ones, and five megabytes are read once. Making a name safe
twice changes nothing, so clients can send back the names they were given. That also lets a client write the digest
form of another's name; it could as well write the name itself, and either way stays within its own tenant.
"""

import hashlib
import re

from gateway.fairness.units import ApplicationId

MAX_NAME_CHARS = 128
MAX_TENANT_CHARS = 64
"""With a name and the slash far below the 256 characters that an application id may take in a header."""

# The lookahead refuses names of dots alone: in a URL, `.` and `..` are not names.
_SAFE_NAME = re.compile(rf"(?!\.*\Z)[A-Za-z0-9._~:@+-]{{1,{MAX_NAME_CHARS}}}")
_SAFE_TENANT = re.compile(rf"[A-Za-z0-9._~:@+-]{{1,{MAX_TENANT_CHARS}}}")


def is_safe_name(value: str) -> bool:
    return _SAFE_NAME.fullmatch(value) is not None


def is_safe_tenant(value: str) -> bool:
    return _SAFE_TENANT.fullmatch(value) is not None


def safe_name(value: str) -> str:
    """The value itself if it is safe, else its digest form."""
    return value if is_safe_name(value) else f"x-{sha256_hex(value)[:32]}"


def joined_name(whole: str, part: str) -> str:
    """The name of a part (a run, an agent) of an application, from two safe names; safe too."""
    return safe_name(f"{whole}:{part}")


def application_id(tenant: str, name: str) -> ApplicationId:
    """The deployment-wide id. `name` must be safe: neither it nor a tenant's name has a slash."""
    return ApplicationId(f"{tenant}/{name}")


def sha256_hex(value: str) -> str:
    """Of any string at all: lone surrogates, which UTF-8 proper refuses, are encoded as they are."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
