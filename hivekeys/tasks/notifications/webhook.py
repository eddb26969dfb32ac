"""Tells a webhook: a POST of JSON over https, in the form that Slack, Mattermost and their like read.

`text` is for people, `hivekeys` has the facts for programs. Certificates are checked, as SSL_CERT_FILE or the system
says; a redirect is not followed, since it would carry the header to another host.
"""

import json
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO

from hivekeys.bastion import secrets_given
from hivekeys.errors import UserError
from hivekeys.fleet import Notify
from hivekeys.inventory.notifying import https
from hivekeys.tasks.notifications.notification import Notification
from hivekeys.text.clean import one_line

HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e][\x20-\x7e]*)")  # RFC 9110, 5.1 and 5.5
LIMIT = 8192  # bytes of an address, or a header
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # or a host's words could call a whole channel


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, _req: urllib.request.Request, _fp: IO[bytes], _code: int, _msg: str, _headers: HTTPMessage, _newurl: str
    ) -> None:
        """Follows none."""


def request_of(notify: Notify) -> urllib.request.Request:
    """The request of every notification. Raises UserError for an address or a header that cannot be sent."""
    address = notify.webhook or _line(notify.webhook_file)
    try:
        request = urllib.request.Request(https(address), method="POST")  # noqa: S310  https alone
    except ValueError as error:
        raise UserError(f"{notify.webhook_file}: expected {error}") from None
    request.add_header("Content-Type", "application/json")
    request.add_header("User-Agent", "hivekeys")
    if notify.header_file:
        found = HEADER.fullmatch(_line(notify.header_file))
        if not found:
            raise UserError(
                f"{notify.header_file}: expected one header", hint="such as `Authorization: Bearer …`, in one line"
            )
        request.add_unredirected_header(found[1], found[2].rstrip())
    return request


def post(request: urllib.request.Request, notification: Notification, patience: float) -> str:
    """Sends the notification. What went wrong, "" if nothing did; the address, which may be a secret, is not in it."""
    text = f"*{notification.title}*\n{notification.text}".rstrip().translate(ESCAPES)
    request.data = json.dumps({"text": text, "hivekeys": notification.facts}).encode()
    try:
        with urllib.request.build_opener(_Stays).open(request, timeout=patience):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{request.host} answers {error.code}"
    except urllib.error.URLError as error:
        return f"{request.host}: {one_line(str(error.reason))}"
    except (OSError, HTTPException, ValueError) as error:  # it went away before it answered, or answers nonsense
        return f"{request.host}: {one_line(str(error)) or type(error).__name__}"


def _line(file: str) -> str:
    """The one line of a secret file."""
    text = secrets_given.read(file, LIMIT, "chmod 600, and make a new secret").decode("utf-8", "replace")
    return text.strip()
