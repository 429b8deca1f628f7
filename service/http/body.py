"""The bytes of a request's body: not compressed, no more of them than allowed, and declared as JSON where that is read.

What they say is `service.http.reading`'s affair.
"""

from __future__ import annotations

import re
from functools import lru_cache

from starlette.requests import ClientDisconnect, Request

from dit_serve.service.errors import BodyTooLarge, JobCancelled, UnsupportedMediaType
from dit_serve.service.http.negotiate import JSON

_MEDIA_TYPE = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json")  # RFC 6839: what ends in +json is JSON
_UTF8 = ("utf-8", "utf8")


async def read_json_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request that says it is JSON.

    Raises:
        UnsupportedMediaType: it says something else, or nothing; or it is compressed.
        JobCancelled: the client went away.
        BodyTooLarge: it is, or says it will be, larger than allowed; the rest is not read.
    """
    check_media_type(request.headers.get("content-type", ""))
    return await read_body(request, max_bytes)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request, whatever it says that it is.

    Raises:
        UnsupportedMediaType: it is compressed.
        JobCancelled: the client went away.
        BodyTooLarge: it is, or says it will be, larger than allowed; the rest is not read.
    """
    check_not_encoded(", ".join(request.headers.getlist("content-encoding")))
    too_large = BodyTooLarge(f"a body may have {max_bytes} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect:
        raise JobCancelled("the client went away") from None
    return bytes(body)


@lru_cache(maxsize=64)  # clients send few different ones
def check_media_type(content_type: str) -> None:
    """Refuses what is not declared as JSON in UTF-8, the only encoding that JSON is sent in (RFC 8259, section 8.1).

    Raises:
        UnsupportedMediaType: the media type is another, or it is missing, or its charset is another.
    """
    media_type, *parameters = content_type.lower().split(";")
    if not _MEDIA_TYPE.fullmatch(media_type.strip()):
        raise UnsupportedMediaType(f"send Content-Type: {JSON} (curl: -H 'Content-Type: {JSON}')")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _UTF8:
            raise UnsupportedMediaType(f"JSON is read in UTF-8 alone: send it so, with Content-Type: {JSON}")


def check_not_encoded(content_encoding: str) -> None:
    """Refuses a body with a content coding; the answer then says which would do (RFC 9110, section 15.5.16).

    Raises:
        UnsupportedMediaType: a coding is named that is not identity.
    """
    if any(coding.strip().lower() not in ("", "identity") for coding in content_encoding.split(",")):
        detail = "a body with Content-Encoding is not read: send it as it is, without compression and that header"
        raise UnsupportedMediaType(detail, headers={"Accept-Encoding": "identity"})
