"""Makes what connections send, from a source of randomness alone: requests, what is almost one, and pieces of them.

Bodies are made of requests too, so that a server which takes their bytes for requests answers too much.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

BAIT = b"GET /stolen HTTP/1.1\r\nHost: host.example\r\n\r\n"
_POST = b"POST /hostile HTTP/1.1\r\nHost: host.example\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_GET = b"GET /hostile HTTP/1.1\r\nHost: host.example\r\n"
_WITH_BODY = (b"POST", b"POST", b"PUT")
_WITHOUT_BODY = (b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE")

OFFERS = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: upgrade\r\n",
    b"Upgrade: foo\r\nUpgrade: bar/1\r\nConnection: upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n",
)
TRAILERS = (
    b"", b"", b"X-Tag: trailer\r\n", b"X-Tag: a\r\nX-API-Key: stolen-key\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Host: other.example\r\nExpect: 100-continue\r\n",
    b"Connection: close\r\n",
)
HOSTILE = (  # each is refused, or is a request without an end
    _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    _POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n12345",
    _POST + b"Content-Length: 5, 5\r\n\r\n12345",
    _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    *(
        _POST + b"Transfer-Encoding: %b\r\n\r\n0\r\n\r\n" % coding
        for coding in (
            b"identity", b"chunked, chunked", b"xchunked", b"chunked, identity", b"gzip, chunked", b"chunkedx", b"gzip",
            b"", b"\x0bchunked", b'"chunked"', b"chunked;q=1", b"\r\n chunked",
        )
    ),
    _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /hostile HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    *(
        _POST + b"Content-Length: %b\r\n\r\n12345" % length
        for length in (
            b"+5", b"0x5", b"-5", b"5 5", b"", b"5_0", b"9" * 5000, b"0" * 5000 + b"5", b"5e0", b"\xd9\xa3",
            b"18446744073709551621", b"5;", b"5.0", b"\r\n 5",
        )
    ),
    _GET.replace(b"\r\n", b"\n") + b"\n",
    _GET + b"X-A: b\nX-C: d\r\n\r\n",
    _GET + b"X-A: b\rX-C: d\r\n\r\n",
    _GET + b"X-A: b\x00c\r\n\r\n",
    _GET + b"X\x00A: b\r\n\r\n",
    _GET + b"X-A: b\r\n c\r\n\r\n",
    _GET + b"X-A: b\r\n\tContent-Length: 5\r\n\r\n",
    _GET + b"X-A : b\r\n\r\n",
    _GET + b" X-A: b\r\n\r\n",
    _GET + b": b\r\n\r\n",
    _GET + b"no colon\r\n\r\n",
    _GET + b"Host: other.example\r\n\r\n",
    b"GET /hostile HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /hostile HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET /hostile HTTP/1.1\r\n\r\n",
    b"GET /hostile HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /hostile\r\n\r\n",
    b"GET /hostile\r\nHost: host.example\r\n\r\n",
    *(
        b"GET /hostile HTTP/%b\r\nHost: host.example\r\n\r\n" % version
        for version in (b"2.0", b"0.9", b"1.2", b"11", b"3")
    ),
    b"get /hostile HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"BREW /hostile HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"GET /hos tile HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"GET /hostile#a HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"GET hostile HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"GET\t/hostile\tHTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"CONNECT host.example:80 HTTP/1.1\r\nHost: host.example\r\n\r\n",
    b"CONNECT host.example:80 HTTP/1.1\r\nHost: host.example\r\nContent-Length: 5\r\n\r\n12345",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    *(
        _CHUNKED + chunk + b"a\r\n0\r\n\r\n"
        for chunk in (
            b"1 \r\n", b" 1\r\n", b"1_0\r\n", b"0x1\r\n", b"+1\r\n", b"-1\r\n", b"\r\n", b"g\r\n", b"1\n",
            b"1;a\n", b"1;a\rb\r\n", b"10000000000000001\r\n", b"2\r\n", b";a\r\n",
        )
    ),
    _CHUNKED + b"1\r\na\n0\r\n\r\n",
    _CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    _CHUNKED + b"0\r\nX-A: b\r\n c\r\n\r\n",
    _CHUNKED + b"0\r\nno colon\r\n\r\n",
    _CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    _CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
)
ENDLESS = (  # too much of something; each is refused with 413 or 431
    _CHUNKED + b"1;" + b"a" * 140_000,
    _CHUNKED + b"1;a=\"" + b"a" * 140_000,
    _CHUNKED + b"1\r\na\r\n" * 25_000,
    _CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 20_000,
    _POST + b"Content-Length: 1000000\r\n\r\n" + b"a" * 140_000,
    _GET + b"X-A: " + b"a" * 34_000,
    _GET + b"X-A: b\r\n" * 9_000,
    b"GET /" + b"a" * 34_000,
    b"\r\n" * 17_000,
)


def request(source: random.Random, number: int) -> bytes:
    """One request."""
    has_body = source.random() < 0.6
    method = source.choice(_WITH_BODY if has_body else _WITHOUT_BODY)
    version = b"1.0" if source.random() < 0.05 else b"1.1"
    form = b"http://host.example" if source.random() < 0.1 else b""
    fields = [b"Host: host.example\r\n", b"X-Tag: %d\r\n" % number]
    if source.random() < 0.3:
        fields.append(source.choice(OFFERS))
    if source.random() < 0.2:
        options = source.choice((b"close", b"keep-alive", b"Keep-Alive", b"keep-alive, close"))
        fields.append(b"Connection: %b\r\n" % options)
    if has_body and source.random() < 0.2:
        fields.append(b"Expect: 100-continue\r\n")
    body = b""
    if has_body:
        framing, body = _body(source, version)
        fields.append(framing)
    source.shuffle(fields)
    line = b"%b %b/%d?q=%d HTTP/%b\r\n" % (method, form, number, number, version)
    return b"".join((line, *fields, b"\r\n", body))


def _body(source: random.Random, version: bytes) -> tuple[bytes, bytes]:
    """The field that says how a body ends, and the body as it is sent."""
    noise = source.randbytes(300)
    content = source.choice((b"", b"{}", BAIT, BAIT * 5, b"\r\n\r\n" + BAIT, b"0\r\n\r\n" + BAIT, noise))
    if version == b"1.0" or source.random() < 0.5:
        spelling = source.choice((b"Content-Length: %d\r\n", b"content-length:%d\r\n", b"CONTENT-LENGTH:\t%d \r\n"))
        return spelling % len(content), content
    chunks = b""
    while content:
        size = source.randint(1, len(content))
        sizes = source.choice((b"%x", b"%X", b"000%x")) % size
        extension = source.choice((b"", b"", b";a", b";a=b", b';a="b c"', b";a;b=c"))
        chunks += sizes + extension + b"\r\n" + content[:size] + b"\r\n"
        content = content[size:]
    last = source.choice((b"0", b"0", b"000", b"0;a=b")) + b"\r\n" + source.choice(TRAILERS) + b"\r\n"
    return b"Transfer-Encoding: " + source.choice((b"chunked", b"Chunked")) + b"\r\n", chunks + last


def requests(source: random.Random) -> list[bytes]:
    """Some requests of one client; a blank line stands before a few of them."""
    count = source.choice((1, 1, 2, 3, 4, 5, 6, 25))
    return [source.choice((b"", b"", b"", b"\r\n")) + request(source, number) for number in range(count)]


def connection(source: random.Random) -> bytes:
    """All that one client sends."""
    data = b"".join(requests(source))
    match source.randrange(10):
        case 0 | 1 | 2 | 3:
            data += source.choice(HOSTILE) + BAIT
        case 4:
            data = data[: source.randrange(len(data))]
        case 5 | 6:
            data = damaged(data, source)
    return data


def damaged(data: bytes, source: random.Random) -> bytes:
    """The same with a byte or two wrong, lost or too many."""
    out = bytearray(data)
    for _ in range(source.randint(1, 2)):
        at = source.randrange(len(out))
        wrong = source.choice((b"\r", b"\n", b" ", b"\t", b"\x00", b":", b";", b"0", b"a", b",", b"\xff", b"\r\n", b""))
        out[at : at + source.randint(0, 2)] = wrong
    return bytes(out)


def pieces(data: bytes, source: random.Random) -> Iterator[bytes]:
    """What is sent as it may come: at once, byte by byte, or cut anywhere."""
    way = source.randrange(4)
    if way == 0:
        yield data
    elif way == 1 and len(data) < 4000:
        yield from (data[at : at + 1] for at in range(len(data)))
    else:
        cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.randint(1, 12)))
        yield from (data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end)
