"""Hostile requests in the words of other protocols: OpenAI's, the inference protocol's, Hugging Face's, and links.

Each is a request that a real client sends, of which something may be wrong: its fields, the sizes and types that it
tells of its tensors, where its header ends, its query. A source of randomness alone makes them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.service.asgi import Header
from tests.service.http.hostile import FIELDS, VALUES, Hostile, damaged, hostile_headers, mutated

T = TypeVar("T")
MODELS = ("fake-64", "fake-128", "fake-64", "no-such", "fake%2F64", "", "..", "fake-64/", "\u0663", "a" * 3000, "%00")
OPENAI_FIELDS = (
    b"model", b"prompt", b"n", b"size", b"response_format", b"output_format", b"output_compression", b"background",
    b"quality", b"style", b"moderation", b"user", b"stream", b"partial_images", b"class_id", b"seed", b"cfg", *FIELDS,
)
OPENAI_VALUES = (
    b'"7"', b'"class 7"', b'"kind 49"', b'"class 50"', b'"auto"', b'"64x64"', b'"128x128"', b'"64x"', b'"0x0"',
    b'"9999999999x1"', b'"1024x1024"', b'"b64_json"', b'"url"', b'"png"', b'"webp"', b'"jpeg"', b'"gif"', b'"opaque"',
    b'"transparent"', b"true", b"false", b"3", b"4", b"11", b"100", b"101", b'"fake-64"', b'"class \xd9\xa3"', *VALUES,
)
TASK_FIELDS = (
    b"height", b"width", b"num_inference_steps", b"guidance_scale", b"scheduler", b"seed", b"sampler",
    b"negative_prompt", b"target_size", b"class_id", b"model", *FIELDS,
)
TASK_VALUES = (b"64", b"128", b'"a cat"', b'{"width": 64, "height": 64}', *OPENAI_VALUES)
TENSORS = (b"class_id", b"label", b"seed", b"cfg", b"steps", b"image", b"", b"CLASS_ID", b"\\ud800")
DATATYPES = (b"INT64", b"BYTES", b"FP32", b"INT32", b"FP64", b"BOOL", b"UINT8", b"int64", b"")
SHAPES = (
    b"[1]", b"[2]", b"[0]", b"[]", b"[-1]", b"[1, 1]", b"[1099511627776]", b"[4294967296, 4294967296]", b'["1"]',
    b"[1.5]", b"1", b"null", b"[" + b"1, " * 400 + b"1]", b"[9223372036854775808]", b"[true]",
)
SIZES = (b"0", b"-1", b"1", b"7", b"9", b"8", b"16", b'"8"', b"8.0", b"1e9", b"9223372036854775808", b"null", b"true")
PREFIXES = (0, 1, 5, 6, 2**16, 2**31, 2**32 - 1)
HEADER_LENGTHS = (b"0", b"-1", b"1", b"1e2", b"99999999999999999999", b"\xd9\xa3", b"", b"abc", b"10, 10", b"+9", b" 9")
SEGMENTS = ("7", "class 7", "class%207", "49", "50", "-1", "0x7", "\u0663", "9" * 400, "7.png", "", "..", "a%00")
SEEDS = ("5", "0", "-1", "9223372036854775807", "9223372036854775808", "1.0", "1e3", "\u0663", "", "nan", "9" * 400)
QUERIES = (
    b"", b"cfg=4&steps=2", b"steps=2", b"steps=51", b"steps=2&steps=3", b"cfg=NaN", b"cfg=1e400", b"steps=\xd9\xa3",
    b"steps=%32", b"a=b", b"&&&=", b"sampler=ddpm&steps=2", b"sampler=%00", b"steps=2&cfg=", b"steps=%ff%fe",
    b"=&=" * 900,
    b"weights=00000000&steps=2", b"weights=ffffffff", b"steps=2;cfg=1", b"guidance_scale=1&cfg=1", b"steps=+2", b"%",
)
TAGS = (b"*", b'""', b'"a"', b'W/"a"', b'"a', b"a", b'"a", "b"', b"," * 4000, b'"\xff"', b'W/"' + b"0" * 64 + b'"', b"")
PROBES = (
    "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/health/x", "/v2/models", "/v2/models/",
    "/v2/models/fake-64", "/v2/models/fake-64/ready", "/v2/models/fake-64/versions/1", "/v2/models/fake-64/versions/2",
    "/v2/models/fake-64/versions/1/ready", "/v2/models/no-such", "/v2/models/no-such/ready", "/v2/models/fake%2F64",
    "/v2/models/fake-64/config", "/v2/models/fake-64/stats", "/v2/repository/index", "/v2/../generate", "/V2",
    "/v2\x00", "/ping", "/invocations", "/models/fake-64", "/models/", "/v1/models/fake-64", "/v1/models/no-such",
    "/v1/models/", "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/images/fake-64/7/5.png",
    "/v1/images/", "/v1/chat/completions", "/v1/classes", "/v1/status", "/v1/models", "/health", "/readyz", "/livez",
    "/",
)  # fmt: skip


def hostile_client(source: random.Random) -> Hostile:
    """One request to a route of another protocol."""
    return source.choice(CLIENTS)(source)


def _openai(source: random.Random) -> Hostile:
    fields = {b"prompt": b'"7"', b"steps": b"2", b"response_format": b'"b64_json"'}
    body = mutated(fields, OPENAI_FIELDS, OPENAI_VALUES, source)
    return Hostile("POST", "/v1/images/generations", hostile_headers(source), body)


def _task(source: random.Random) -> Hostile:
    inner = mutated({b"num_inference_steps": b"2"}, TASK_FIELDS, TASK_VALUES, source, _few(source), damage=0.1)
    fields = {b"inputs": b'"class 7"', b"parameters": inner}
    names = (b"inputs", b"parameters", b"options", *FIELDS)
    outer = mutated(fields, names, TASK_VALUES, source, _few(source), damage=0.1)
    path = "/" if source.random() < 0.5 else f"/models/{source.choice(MODELS)}"
    return Hostile("POST", path, hostile_headers(source), outer)


def _own(source: random.Random) -> Hostile:
    """By another path, or several at once."""
    one = mutated({b"class_id": b"7", b"steps": b"2"}, FIELDS, VALUES, source)
    if source.random() < 0.5:
        return Hostile("POST", "/invocations", hostile_headers(source), one)
    fields = {b"requests": b"[%s]" % b", ".join([one] * _often(1, (0, 2, 3, 65), source))}
    body = mutated(fields, (b"requests", *FIELDS), VALUES, source, _few(source), damage=0.1)
    return Hostile("POST", "/v1/batch", hostile_headers(source), body)


def _infer(source: random.Random) -> Hostile:
    """An inference, its tensors in JSON or behind it, with an answer of either kind."""
    count, is_binary = source.choice((1, 1, 1, 2)), source.random() < 0.6
    tensors = [_tensor(name, count, is_binary, source) for name in _some_tensors(source)]
    inputs = b"[%s]" % b", ".join(head for head, _ in tensors)
    names = (b"cfg", b"seed", b"timeout", b"priority", b"binary_data_output", *FIELDS)
    parameters = mutated({b"steps": b"2"}, names, VALUES, source, _few(source), damage=0.05)
    fields = {b"inputs": inputs, b"parameters": parameters}
    if source.random() < 0.3:
        fields[b"outputs"] = source.choice((
            b'[{"name": "image"}]', b'[{"name": "png", "parameters": {"binary_data": true}}]', b'[{"name": "nothing"}]',
            b"[]", b'[{"name": "seed"}, {"name": "seed"}]', b'[{"name": "png", "parameters": {"binary_data": false}}]',
            b'[{"name": 7}]', b'[{"name": "image", "parameters": {"classification": 3}}]',
        ))  # fmt: skip
    names = (b"id", b"inputs", b"outputs", b"parameters", b"model_name", *FIELDS)
    head = mutated(fields, names, VALUES, source, _few(source), damage=0.1)
    length = b"%d" % len(head)
    if source.random() < 0.15:
        length = source.choice((*HEADER_LENGTHS, b"%d" % (len(head) + 1), b"%d" % (len(head) - 1)))
    headers = _without_type(hostile_headers(source)) if source.random() < 0.8 else hostile_headers(source)
    if is_binary or source.random() < 0.2:
        headers = (*headers, (b"inference-header-content-length", length))
    data = b"".join(data for _, data in tensors)
    if source.random() < 0.1:
        data = source.choice((b"", data[:-1], data + b"\x00", data * 40, damaged(data, source)))
    version = source.choice(("", "", "", "/versions/1", "/versions/2", "/versions/"))
    return Hostile("POST", f"/v2/models/{_model(source)}{version}/infer", headers, head + data)


def _some_tensors(source: random.Random) -> list[bytes]:
    others = (b"seed", b"cfg", b"steps") if source.random() < 0.7 else TENSORS
    return [source.choice((b"class_id", b"label")), *source.sample(others, source.choice((0, 0, 0, 1, 2)))]


def _tensor(name: bytes, count: int, is_binary: bool, source: random.Random) -> tuple[bytes, bytes]:
    """What the JSON says of a tensor, and its bytes behind it."""
    datatype, values, packed = {
        b"label": (b"BYTES", b'"class 7"', struct.pack("<I", 7) + b"class 7"),
        b"cfg": (b"FP32", b"1.5", struct.pack("<f", source.choice((1.0, 4.0, float("nan"), float("inf"), -1e30)))),
        b"steps": (b"INT32", b"2", struct.pack("<i", source.choice((2, 2, 2, 0, -1, 2**31 - 1)))),
    }.get(name, (b"INT64", b"7", struct.pack("<q", source.choice((7, 7, 7, 0, -1, 50, -(2**63), 2**63 - 1)))))
    if name == b"label" and source.random() < 0.2:
        packed = struct.pack("<I", source.choice(PREFIXES)) + source.choice((b"class 7", b"", b"\xff\xfe", b"x" * 300))
    fields = {b"name": b'"%s"' % name, b"shape": b"[%d]" % count, b"datatype": b'"%s"' % datatype}
    data = packed * count if is_binary else b""
    if is_binary:
        fields[b"parameters"] = b'{"binary_data_size": %d}' % len(data)
    else:
        fields[b"data"] = b"[%s]" % b", ".join([values] * count)
    wrong: dict[bytes, Callable[[], bytes]] = {
        b"shape": lambda: source.choice(SHAPES),
        b"datatype": lambda: b'"%s"' % source.choice(DATATYPES),
        b"parameters": lambda: b'{"binary_data_size": %s}' % source.choice(SIZES),
        b"data": lambda: source.choice((*VALUES, b"[[7]]", b"[7, 7, 7]", b'["class 7"]')),
        b"name": lambda: source.choice(VALUES),
    }
    for key in source.sample(list(wrong), source.choice((0, 0, 0, 0, 0, 1, 2))):
        fields[key] = wrong[key]()
    return b"{" + b", ".join(b'"%s": %s' % pair for pair in fields.items()) + b"}", data


def _link(source: random.Random) -> Hostile:
    where = "/".join((_model(source), _often("7", SEGMENTS, source), _often("5", SEEDS, source)))
    query = _often(b"steps=2", QUERIES, source)
    headers: tuple[Header, ...] = ((b"host", b"x"),)
    if source.random() < 0.3:
        headers = (*headers, (b"if-none-match", source.choice(TAGS)))
    method = "HEAD" if source.random() < 0.2 else "GET"
    return Hostile(method, f"/v1/images/{where}.png", headers, b"", query)


def _probe(source: random.Random) -> Hostile:
    method = source.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"))
    path = source.choice(PROBES) if source.random() < 0.7 else f"/v1/models/{_model(source)}"
    return Hostile(method, path, hostile_headers(source), b"")


def _few(source: random.Random) -> int:
    """How many fields of an object are wrong at most, where others may be wrong as well."""
    return source.choice((0, 0, 0, 1, 2))


def _model(source: random.Random) -> str:
    return _often("fake-64", MODELS, source)


def _often(usual: T, others: Sequence[T], source: random.Random) -> T:
    return source.choice(others) if source.random() < 0.2 else usual


def _without_type(headers: Sequence[Header]) -> tuple[Header, ...]:
    return tuple(header for header in headers if header[0] != b"content-type")


CLIENTS: Sequence[Callable[[random.Random], Hostile]] = (
    _openai, _openai, _task, _own, _infer, _infer, _link, _probe,
)  # fmt: skip
