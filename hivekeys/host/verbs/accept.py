"""The verb accept: which tokens a service accepts, where it takes two; and what its file of them shows.

Runs ON a host, in one text with agent.py, when it is asked for: where the inventory's `accepts` is not "one". A list
has one token a line, the one to present first, and comments behind `#`. Of a pair the file holds the second token
alone; the first is in the active slot.
"""

import errno
import os
import stat

from hivekeys.host.agent import SLOT_LOOKS, Agent, verb
from hivekeys.host.forms import is_token, read_token
from hivekeys.host.paths import NOFOLLOW, read_limited
from hivekeys.host.slots import describe
from hivekeys.host.system import MAX_TOKEN_BYTES, Refusal
from hivekeys.host.writing import change, replaceable

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

MOST_ACCEPTED = 16  # tokens of a list: a run needs two


@verb("touches", "locked")
def accept(agent: "Agent", tokens: "list[str]") -> "tuple[bool, dict[str, Any]]":
    """Writes the file whole, of tokens (keyed fingerprints) that lie in slots or were told; one that leaked never."""
    secrets = agent.secrets
    name = secrets.accepted
    agent.slots()  # what lies in them is known from now on
    if not tokens or not all(keyed in secrets.known for keyed in tokens):
        raise Refusal("slot-changed", "a token that the service is to accept is in no slot")
    texts = [secrets.known[keyed] for keyed in tokens]
    for text in texts:
        secrets.refuse_revoked(text)
    texts = texts[1:] if agent.service["accepts"] == "pair" else texts

    def work(folder: int) -> bool:
        shown = accepted_in(agent, folder)
        if shown and not shown["fault"] and shown["texts"] == texts and secrets.fits(folder, name):
            return False
        replaceable(agent, folder, name)
        if not texts:
            gone = secrets.remove(folder, name)
            os.fsync(folder)
            return gone
        secrets.create(folder, secrets.scratch, "".join("%s\n" % text for text in texts).encode("ascii"))
        secrets.rename(folder, secrets.scratch, name)
        shown = accepted_in(agent, folder)
        if not shown or shown["fault"] or shown["texts"] != texts:
            raise Refusal("slot-changed", "%s was exchanged while it was written" % name)
        return True

    return change(agent, work)


def accepted_in(agent: "Agent", folder: int) -> "Optional[dict[str, Any]]":
    """What the file shows, with its tokens as `texts`; None where there is none. Opens no device, pipe or link.

    Only a regular file of the account that it is to belong to is read, as in `Secrets.look`.
    """
    try:
        fd = os.open(agent.secrets.accepted, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = "is a link" if error.errno == errno.ELOOP else "cannot be read: %s" % error.strerror
        return {"fault": fault, "texts": []}
    try:
        info = os.fstat(fd)
        shown = dict(describe(info), texts=[])
        if not stat.S_ISREG(info.st_mode):
            shown["fault"] = "is no regular file"
        elif info.st_uid != agent.secrets.owner()[0]:
            shown["fault"] = "belongs to %s, not to %s" % (shown["owner"], agent.service["owner"])
        elif agent.service["accepts"] == "pair":
            text, shown["fault"] = read_token(fd)
            shown["texts"] = [text] if text else []
        else:
            shown["texts"], shown["fault"] = tokens_in(read_limited(fd, MAX_TOKEN_BYTES))
        return shown
    finally:
        os.close(fd)


def tokens_in(data: "Optional[bytes]") -> "tuple[list[str], str]":
    """(tokens, "") of a list, or ([], what is wrong with it)."""
    if data is None:
        return [], "is larger than 1 MiB"
    lines = [line.strip() for line in data.decode("latin-1").splitlines()]
    texts = [line for line in lines if line and not line.startswith("#")]
    if len(texts) > MOST_ACCEPTED:
        return [], "has more than %d tokens" % MOST_ACCEPTED
    if not all(is_token(text) for text in texts):
        return [], "has a line that is no token"
    return texts, ""


def look_at_accepted(agent: "Agent", seen: "dict[str, Any]") -> None:
    """Adds `accepted`: the fingerprints, whose file it is, and whether the process can have read it."""
    if not agent.secrets.accepted or seen["directory"]["fault"]:
        return
    folder = agent.secrets.open()
    try:
        shown = accepted_in(agent, folder)
    finally:
        os.close(folder)
    is_pair = agent.service["accepts"] == "pair"
    if shown is None and not is_pair:
        return
    shown = shown or {"fault": "", "texts": []}
    first = (seen["active"] or {}).get("fingerprint")
    prints = [agent.secrets.fingerprint(text) for text in shown["texts"]]
    prints[:0] = [first] if first and is_pair else []
    started = seen["unit"]["started"]
    waits = "apply" in agent.service or started is None
    seen["accepted"] = {
        "first": prints[0] if prints else None,
        "second": prints[1] if len(prints) > 1 else None,
        "more": len(prints[2:]),
        "revoked": [bool(text and agent.secrets.revoked_by(text)) for text in [""] * is_pair + shown["texts"][:2]],
        "is_read": waits or started + 0.02 >= shown.get("changed", 0.0),
        **{part: shown[part] for part in ("fault", "mode", "owner", "group") if part in shown},
    }


SLOT_LOOKS.append(look_at_accepted)
