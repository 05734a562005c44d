"""Uploads in parts that were neither completed nor aborted, which obstore cannot list.

A writer that is killed leaves one, and its parts cost money until somebody aborts it.
"""

from __future__ import annotations

import http.client
import random
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from stowage.services.content.bucket import Bucket
from stowage.services.content.bucket_errors import Denied, refusal
from stowage.services.content.bucket_keys import query_string, sign
from stowage.services.errors import Internal, Unavailable

_RETRY_SECONDS = 0.5
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload: the location of its object, its id, and when it began, in seconds since 1970."""

    location: str
    upload: str
    began: float


def list_uploads(bucket: Bucket) -> Iterator[Unfinished]:
    """The unfinished uploads below the prefix of the bucket. Raises as `bucket_errors` does, Denied also if no access key is known."""
    prefix = f"{bucket.address.prefix}/"
    query = {"uploads": "", "prefix": prefix}
    while True:
        answer = ET.fromstring(_request(bucket, "GET", "", query))
        space = answer.tag.partition("}")[0] + "}" if answer.tag.startswith("{") else ""
        for upload in answer.iter(f"{space}Upload"):
            key, began = upload.findtext(f"{space}Key", ""), upload.findtext(f"{space}Initiated", "")
            if key.startswith(prefix):
                moment = datetime.fromisoformat(began).timestamp()
                yield Unfinished(key.removeprefix(prefix), upload.findtext(f"{space}UploadId", ""), moment)
        if answer.findtext(f"{space}IsTruncated") != "true":
            return
        query["key-marker"] = answer.findtext(f"{space}NextKeyMarker", "")
        query["upload-id-marker"] = answer.findtext(f"{space}NextUploadIdMarker", "")


def abort_upload(bucket: Bucket, location: str, upload: str) -> None:
    """Abort an upload; one that does not exist any more is no error."""
    _request(bucket, "DELETE", f"/{bucket.address.prefix}/{location}", {"uploadId": upload})


def _request(bucket: Bucket, method: str, path: str, query: Mapping[str, str]) -> bytes:
    """The answer; what passes is tried again as long as the timeout of the bucket."""
    last = time.monotonic() + bucket.timeout
    while True:
        try:
            return _send(bucket, method, path, query)
        except Unavailable:
            if time.monotonic() > last:
                raise
        time.sleep(_RETRY_SECONDS * random.uniform(0.5, 1.5))


def _send(bucket: Bucket, method: str, path: str, query: Mapping[str, str]) -> bytes:
    credentials, name = bucket.credentials(), bucket.address.bucket
    if credentials is None:
        raise Denied(f"the uploads of the bucket {name} cannot be listed with the key of a role without stowage[s3-profiles]")
    endpoint = urlsplit(bucket.address.endpoint or f"https://{name}.s3.{bucket.region}.amazonaws.com")
    path = quote(f"/{name}{path}" if bucket.address.endpoint else path or "/")
    headers = sign(credentials, bucket.region, method, host=endpoint.netloc, path=path, query=query)
    connect = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
    connection = connect(endpoint.netloc, timeout=bucket.timeout)
    try:
        connection.request(method, f"{path}?{query_string(query)}", headers=headers)
        response = connection.getresponse()
        body = response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        raise Unavailable(f"the bucket {name} cannot be reached, or did not answer in time") from exc
    finally:
        connection.close()
    if response.status < http.client.MULTIPLE_CHOICES:
        return body
    code = body.decode(errors="replace").partition("<Code>")[2].partition("<")[0]
    if code == "NoSuchUpload":
        return b""
    raise refusal(name, code, str(response.status)) or Internal(f"the bucket {name} answered with an error ({code or response.status})")
