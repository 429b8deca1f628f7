"""Makes hostile requests, each from a source of randomness alone; and the model that the valid ones among them meet."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dit_serve.models.options import ModelOptions
from tests.service import fake
from tests.service.asgi import Header

DOCUMENTED = frozenset({200, 304, 400, 404, 405, 406, 413, 415, 422, 429, 503, 504})
OF_THE_PROTOCOL = frozenset({400, 408, 431})

VALUES = (
    b"NaN", b"-NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"true", b"false", b"null",
    b'"1"', b'""', b"0", b"-0", b"1", b"2", b"3", b"49", b"50", b"-1", b"1.0", b"1.5", b"0.1e1", b"01", b"+1",
    b".5", b"1.", b"0x1", b"1_0", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616",
    b"9" * 400, b"9" * 5000, b"1" + b"0" * 4299, b"0." + b"3" * 5000, b"[]", b"{}", b"[1]", b'{"a": 1}',
    b"[" * 500 + b"]" * 500, b"[" * 5000, b'{"a":' * 300 + b"1" + b"}" * 300, b'"\\ud800"', b'"\\udfff\\ud800"',
    b'"\\u0000"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"ddim"', b'"ddpm"', b'"dpm++"', b'"DDIM"',
    b'"class 7"', b'"CLASS"', b'"fake-128"',
    b'"' + b"d" * 9000 + b'"', b"'ddim'", b"undefined", "\u0663".encode(), "\uff11".encode(), b"1,2", b"1}",
    b"{", b"]", b"", b"/**/1", b"1//", b'"\n"', b'"\\x41"',
)
FIELDS = (
    b"class_id", b"cfg", b"steps", b"seed", b"resolution", b"sampler", b"n", b"preview_every",
    b"guidance_scale", b"num_inference_steps", b"class", b"class", b"model",
    b"__class__", b"", b"class_id ", b"CLASS_ID", b"\\u0063lass_id", b"\\ud800", b"a" * 2000,
    b"__proto__", b"$ref", b"\xff",
)
ACCEPTS = (
    b"*/*", b"image/png", b"application/json", b"text/event-stream", b"text/html", b"", b";;;,,,", b"*/*;q=nan",
    b"\xff\xfe", b"image/png;q=1e400", b"image/*;q=-1", b"," * 5000, b"a/b," * 3000,
    b"text/event-stream;q=0.5, */*", b"application/json" * 9,
)
MEDIA_TYPES = (
    b"application/json", b"application/json; charset=utf-16", b"APPLICATION/JSON", b"text/plain", b"",
    b"multipart/form-data", b"application/x-www-form-urlencoded", b"application/json, text/plain", b"\xff",
    b"application/jsonx", b";application/json",
)
LENGTHS = (b"0", b"-1", b"1e9", b"99999999999999999999", b"\xd9\xa3", b"", b"16385", b"abc", b"1, 1")
DEADLINES = (b"60000", b"", b"0", b"-1", b"1e9", b"86400001", b"9" * 3000, b"\xd9\xa3", b"NaN", b"60000, 1", b"\xb2")
PATHS = (
    "/generate", "/v1/batch", "/", "/livez", "/readyz", "/v1/models", "/v1/classes", "/docs", "/openapi.json",
    "/generate/",
    "//generate", "/generate/..", "/GENERATE", "/generate%00", "/generate\x00", "/\u0663", "/\udcff", "", "*",
    "/" + "a" * 9000, "/v1", "/v1/classes/../../etc/passwd", "/.env", "/docs/oauth2-redirect", "/metrics",
    "/static/../x", "http://x/generate",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "post", "")


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    method: str
    path: str
    headers: tuple[Header, ...]
    body: bytes
    query: bytes = b""


def load(model: str, options: ModelOptions) -> fake.FakeDoor:
    """The fake model without its classes that misbehave, and with no more steps than are usual."""
    door = fake.load(model, options)
    door.info = replace(door.info, num_classes=50, labels=door.info.labels[:50], max_steps=50)
    return door


def hostile_request(source: random.Random) -> Hostile:
    """One request that something is wrong with, or nothing: of an image, by our own route, or of anything there is."""
    method, path = ("POST", "/generate") if source.random() < 0.9 else (source.choice(METHODS), source.choice(PATHS))
    return Hostile(method, path, hostile_headers(source), hostile_body(source))


def hostile_body(source: random.Random) -> bytes:
    """A body of POST /generate: wrong in its fields, in its bytes, in its size, or not at all."""
    return mutated({b"class_id": b"7", b"steps": b"2"}, FIELDS, VALUES, source)


def mutated(
    fields: Mapping[bytes, bytes], names: Sequence[bytes], values: Sequence[bytes], source: random.Random,
    most: int = 3, damage: float = 0.3,
) -> bytes:
    """A JSON object with some fields more, or otherwise, than these; some are damaged in their bytes, or too long."""
    fields = dict(fields)
    for _ in range(min(most, source.choice((0, 1, 1, 2, 3)))):
        fields[source.choice(names)] = source.choice(values)
    pairs = [b'"%s": %s' % pair for pair in fields.items()]
    if source.random() < 0.05:
        pairs *= source.choice((2, 50, 400))
    body = b"{" + b", ".join(pairs) + b"}"
    if source.random() < damage:
        body = damaged(body, source)
    if source.random() < 0.01:
        body += source.choice((b" ", b"\x00", b"[")) * source.choice((100, 16_384, 40_000))
    return body


def damaged(data: bytes, source: random.Random) -> bytes:
    """Bytes flipped, lost, doubled or put in."""
    out = bytearray(data)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(out) + 1)
        match source.randrange(4):
            case 0:
                out[at : at + 1] = bytes([source.randrange(256)])
            case 1:
                del out[at : at + source.randint(1, 20)]
            case 2:
                out[at:at] = out[max(0, at - source.randint(1, 40)) : at]
            case _:
                out[at:at] = source.randbytes(source.randint(1, 8))
    return bytes(out)


def raw_request(asked: Hostile, source: random.Random) -> bytes:
    """The bytes of this request on a connection, wrong in its framing as well."""
    path = asked.path.encode("utf-8", "surrogateescape") + (b"?" + asked.query if asked.query else b"")
    lines = [b"%s %s HTTP/1.1" % (asked.method.encode(), path), b"Connection: close"]
    lines += [name + b": " + value for name, value in asked.headers]
    framing = source.choice(("length", "length", "chunked", "both", "short", "twice", "none"))
    if framing in ("length", "both", "twice"):
        lines.append(b"Content-Length: %d" % len(asked.body))
    if framing == "short":
        lines.append(b"Content-Length: %d" % (len(asked.body) // 2))
    if framing == "twice":
        lines.append(b"Content-Length: %d" % (len(asked.body) + 1))
    body = asked.body
    if framing in ("chunked", "both"):
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:3000]) + b"0\r\n\r\n"
    if source.random() < 0.05:
        lines.append(b"X-Long: " + b"a" * source.choice((9_000, 40_000)))
    if source.random() < 0.03:
        lines += [b"X-%d: y" % k for k in range(5_000)]
    message = source.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")).join([*lines, b"", b""]) + body
    return damaged(message, source) if source.random() < 0.3 else message


def hostile_headers(source: random.Random) -> tuple[Header, ...]:
    """Those of a request with JSON, some of them wrong."""
    headers: list[Header] = [(b"host", b"x")]
    media_type = b"application/json" if source.random() < 0.9 else source.choice(MEDIA_TYPES)
    headers.append((b"content-type", media_type))
    if source.random() < 0.5:
        headers.append((b"accept", source.choice(ACCEPTS)))
    if source.random() < 0.1:
        headers.append((b"x-deadline-ms", source.choice(DEADLINES)))
    if source.random() < 0.05:
        headers.append((b"content-length", source.choice(LENGTHS)))
    if source.random() < 0.1:
        headers.append((source.choice((b"x-request-id", b"cookie", b"range", b"expect")), source.randbytes(40).strip()))
    return tuple(headers)
