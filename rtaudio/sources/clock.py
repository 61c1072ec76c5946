"""When a recording was made, by the clock on the wall: as its name or its metadata tells it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = 1 << 16  # bytes of a file, among which its BEXT chunk is

# Digits of a date and a time in a row: 20240511_053000, 2024-05-11T05.30.00, 20240511-053000.250
_WHEN = re.compile(
    r"(?<!\d)(\d{4})([-_.:]?)(\d\d)\2(\d\d)[-_T ]{0,3}(\d\d)([-_.:h]?)(\d\d)[-_.:m]?(\d\d)"
    r"(?:\.(\d{1,6}))?(?!\d)"
)
_AUDIOMOTH = re.compile(r"Recorded at (\d\d:\d\d:\d\d(?:\.\d+)?) (\d\d)/(\d\d)/(\d{4})")


def wall_clock(name: str, metadata: Mapping[str, str], head: bytes = b"") -> datetime | None:
    """When the first sample was recorded; None where nothing tells a date with a time.

    In the time zone that whoever wrote it had in mind, without one. Looked for in the file's
    name, in the comment of an AudioMoth, in a WAV's BEXT chunk (in ``head``, the file's first
    bytes) and in the tag ``date``.
    """
    when = _found(name)
    if when is None and (told := _AUDIOMOTH.search(metadata.get("comment", ""))):
        when = _found(f"{told[4]}-{told[3]}-{told[2]} {told[1]}")
    return when or _found(_origination(head)) or _found(metadata.get("date", ""))


def _origination(head: bytes) -> str:
    """OriginationDate and OriginationTime of a BEXT chunk (EBU Tech 3285), or nothing."""
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return ""
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == b"bext":
            told = head[at + 8 + 320 :][:18].decode("ascii", "replace")
            return f"{told[:10]} {told[10:]}"
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return ""


def _found(text: str) -> datetime | None:
    for told in _WHEN.finditer(text):
        year, month, day, hour, minute, second = (int(told[i]) for i in (1, 3, 4, 5, 7, 8))
        try:
            when = datetime(year, month, day, hour, minute, second)
        except ValueError:  # digits that are no date
            continue
        if 1970 <= when.year < 2200:
            return when + timedelta(microseconds=int((told[9] or "0").ljust(6, "0")))
    return None
