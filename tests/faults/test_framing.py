"""Broken chunking and broken compression: what cannot be framed is a failure, and what was whole before it counts."""

from __future__ import annotations

import itertools
import zlib

import pytest
from faults.events import SMALL, patch
from faults.server import Play, Wire, stream
from faults.table import BROKEN, CORRUPT, ENDED, MODES, RESET, SILENT, Fault, survive, table

NEXT = patch("elm", 1).wire
HALF = NEXT[: len(NEXT) // 2]
IMPATIENT = {"read_timeout": 0.2}


def chunks(*after: bytes, then: Play = Wire.fin) -> Play:
    """Return a play: a chunk with whole events, and then bytes that are no chunk, each in a packet of its own."""

    def play(wire: Wire) -> None:
        wire.head()
        wire.body(SMALL)
        for data in after:
            wire.raw(data)
        then(wire)

    return play


def broken(name: str, *after: bytes, text: str = BROKEN, then: Play = Wire.fin, **more: object) -> Fault:
    """Return an entry of the table for broken chunks."""
    return Fault(name, chunks(*after, then=then), text, brings=[SMALL], **more)  # type: ignore[arg-type]


@table(
    broken("bad_size", b"zz\r\n" + HALF),
    broken("empty_size", b"\r\n" + HALF),
    broken("size_with_a_sign", b"+-5\r\n" + HALF),
    broken("size_of_other_digits", "٣\r\n".encode() + HALF),
    broken("binary_size", b"\0\xff\xfe\r\n" + HALF),
    broken("huge_size", b"f" * 16 + b"\r\n" + HALF),
    broken("size_beyond_all_machines", b"f" * 1000 + b"\r\n" + HALF),
    broken("huge_size_left_open", b"f" * 16 + b"\r\n", HALF, then=Wire.stay, config=IMPATIENT, text=SILENT),
    broken("negative_size", b"-5\r\n" + HALF),
    broken("negative_size_left_open", b"-5\r\n", HALF, then=Wire.stay),
    broken("missing_end_of_a_chunk", b"%x\r\n%bX" % (len(HALF), HALF)),
    broken("wrong_end_of_a_chunk", b"%x\r\n%bzz5\r\nhello" % (len(HALF), HALF)),
    broken("half_a_size", b"1"),
    broken("half_a_chunk", b"%x\r\n%b" % (len(NEXT), HALF)),
    broken("long_size_line", b"0" * 100_000 + b"5\r\nhello\r\n"),
    broken("long_extension", b"5;" + b"x" * 100_000 + b"\r\nhello\r\n"),
    broken("long_trailer", b"0\r\nX: " + b"x" * 100_000, text=ENDED),
    broken("more_after_the_end", b"0\r\n\r\n" + b"%x\r\n%b\r\n" % (len(NEXT), NEXT), text=ENDED),
    broken("trailers", b"0\r\nX: y\r\nZ: z\r\n\r\n", text=ENDED),
    broken("half_a_trailer", b"0\r\nX: y", text=ENDED),
)
def test_broken_chunks(fault: Fault) -> None:
    """The whole events before the break count; nothing that stands behind it does."""
    survive(fault)


def test_endless_trailers() -> None:
    """A stream that has ended but for its trailers, which never end, has ended."""
    flood = chunks(b"0\r\n", then=lambda wire: wire.flood(itertools.repeat(b"X: y\r\n" * 100), raw=True))
    survive(Fault("trailers", flood, "", brings=[SMALL], config=IMPATIENT), deadline=3.0)


def squeezed(*parts: bytes, wbits: int = 31, end: bool = False) -> bytes:
    """Return the parts compressed, each flushed so that it can be decompressed, with or without the end mark."""
    packer = zlib.compressobj(wbits=wbits)
    flushed = b"".join(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts)
    return flushed + packer.flush(zlib.Z_FINISH) if end else flushed


def encoded(encoding: str, *parts: bytes, then: Play = Wire.end) -> Play:
    """Return a play: an event stream with a content encoding, which nobody asked for."""
    return stream(*parts, then=then, headers={"Content-Encoding": encoding})


WHOLE = squeezed(SMALL.wire + HALF)


@MODES
@table(
    Fault("gzip_and_an_end", encoded("gzip", squeezed(SMALL.wire + HALF, end=True)), ENDED, brings=[SMALL]),
    Fault("gzip_without_its_end", encoded("gzip", WHOLE), ENDED, brings=[SMALL]),
    Fault("gzip_cut_in_its_data", encoded("gzip", squeezed(SMALL.wire, NEXT)[:-20]), ENDED, brings=[SMALL]),
    Fault("gzip_cut_in_its_header", encoded("gzip", WHOLE[:5]), ENDED),
    Fault("gzip_reset", encoded("gzip", WHOLE, then=Wire.reset), f"{RESET}|{BROKEN}", brings=[SMALL]),
    Fault("gzip_that_is_none", encoded("gzip", SMALL.wire), CORRUPT),
    Fault("gzip_with_a_bad_block", encoded("gzip", squeezed(b"") + b"\xff" * 100), CORRUPT),
    Fault("gzip_with_a_bad_checksum", encoded("gzip", squeezed(SMALL.wire, end=True)[:-8] + b"\0" * 8), CORRUPT),
    Fault("deflate", encoded("deflate", squeezed(SMALL.wire + HALF, wbits=15)), ENDED, brings=[SMALL]),
    Fault("raw_deflate", encoded("deflate", squeezed(SMALL.wire + HALF, wbits=-15)), ENDED, brings=[SMALL]),
    Fault("unknown_encoding", encoded("rot13", SMALL.wire + HALF), "encoded as 'rot13', which cannot be decoded"),
    Fault("a_dozen_encodings", encoded(", ".join(["gzip"] * 12), WHOLE), CORRUPT),
)
def test_broken_compression(fault: Fault, chunked: bool) -> None:
    """What can be decompressed up to the fault counts, whole events only."""
    if fault.name == "gzip_reset" and not chunked:
        fault = fault._replace(text=RESET)
    survive(fault, chunked=chunked)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_compressed_stream_is_followed(depth: int) -> None:
    """Compression in several layers is legal; an event arrives as soon as it is there."""
    data = SMALL.wire
    for _ in range(depth):
        data = squeezed(data)
    play = encoded(", ".join(["gzip"] * depth), data, then=Wire.end)
    survive(Fault("layers", play, ENDED, brings=[SMALL]))
