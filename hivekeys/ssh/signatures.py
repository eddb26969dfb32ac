"""SSH signatures, as `ssh-keygen -Y sign` writes them: read here to say whose they are, checked by OpenSSH itself.

A signature counts only where `ssh-keygen -Y verify` takes it, for a list of signers that has the one key. What is read
here decides which key that is, and lets a refusal say what is wrong.
"""

import base64
import binascii
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.fleet import Approver
from hivekeys.journal.events import Signed
from hivekeys.text.clean import one_line, printable

LARGEST = 256 << 10  # bytes of a file of signatures; of an RSA key one has 2 KiB
MOST = 20  # signatures
TIME = 10.0  # seconds for `ssh-keygen`
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
COLUMNS = 70
MAGIC = b"SSHSIG"
VERSION = 1
_ARMOR = re.compile(rf"{BEGIN}\n((?:[A-Za-z0-9+/=]{{1,{COLUMNS}}}\n)+){END}\n")
SIGN_ANEW = "have FILE signed again, as `fab plan --propose` says, and bring FILE.sig along unchanged"


@dataclass(frozen=True)
class Signature:
    """A signature, unchecked: the text of its file, the public key that it names, what it is for."""

    text: str
    key: str
    namespace: str


def signers(
    message: bytes, signatures: bytes, approvers: Sequence[Approver], namespace: str, source: str
) -> tuple[Signed, ...]:
    """The persons who have signed the message, for each signature one. Raises UserError if any of these is not valid.

    `signatures`: one after the other, as they are in the file `source`.
    """
    return tuple(_signed(message, one, approvers, namespace, source) for one in _read(signatures, source))


def allowed_signers(signed: Sequence[tuple[str, str]], namespace: str) -> str:
    """The file of persons and their keys that `ssh-keygen -Y verify -f` takes."""
    return "".join(f'{person} namespaces="{namespace}" {key}\n' for person, key in signed)


def _signed(message: bytes, one: Signature, approvers: Sequence[Approver], namespace: str, source: str) -> Signed:
    approver = next((each for each in approvers if each.key == one.key), None)
    if approver is None:
        stranger = Approver("", one.key).fingerprint
        raise UserError(
            f"{source}: signed with a key that is none of [approval]: {stranger}",
            hint="`ssh-keygen -lf KEY.pub` shows the name of a key",
        )
    if one.namespace != namespace:
        raise UserError(
            f"{source}: {approver.name} signed it for another purpose ({printable(one.namespace)[:60]})",
            hint=f"sign with -n {namespace}",
        )
    if why := _refusal(message, one, approver, namespace):
        raise UserError(f"{source}: the signature of {approver.name} is not valid: {why}", hint=SIGN_ANEW)
    return Signed(approver.name, approver.key, approver.fingerprint, tuple(one.text.splitlines()))


def _refusal(message: bytes, one: Signature, approver: Approver, namespace: str) -> str:
    """Why OpenSSH does not take the signature; "" where it does."""
    with tempfile.TemporaryDirectory(prefix="hivekeys-") as folder:
        allowed, signature = Path(folder, "allowed_signers"), Path(folder, "signature")
        allowed.write_text(allowed_signers([(approver.name, approver.key)], namespace))
        signature.write_text(one.text)
        words = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", approver.name, "-n", namespace]
        try:
            done = subprocess.run(
                [*words, "-s", str(signature)], input=message, capture_output=True, timeout=TIME, check=False
            )
        except FileNotFoundError:
            raise UserError("there is no `ssh-keygen` on this machine", hint="install the OpenSSH client") from None
        except subprocess.TimeoutExpired:
            raise UserError(f"`ssh-keygen -Y verify` did not end within {TIME:g} s") from None
    if done.returncode == 0:
        return ""
    said = one_line(done.stderr.decode("utf-8", "replace")).replace(f"{folder}/", "")
    return f"what was signed, or the signature, was changed ({said or f'status {done.returncode}'})"


def _read(data: bytes, source: str) -> Iterator[Signature]:
    """The signatures of a file, if it is what `ssh-keygen` has written, to the last byte."""
    text, at, number = data.decode("ascii", "replace"), 0, 0
    while at < len(text) or number == 0:
        found = _ARMOR.match(text, at)
        one = _parsed(found[0], found[1]) if found else None
        number += 1
        if found is None or one is None or number > MOST:
            raise UserError(f"{source}: is not as `ssh-keygen -Y sign` writes it", hint=SIGN_ANEW)
        yield one
        at = found.end()


def _parsed(text: str, body: str) -> Signature | None:
    """What a signature names; None for one that is written in another way than `ssh-keygen` does."""
    try:
        blob = base64.b64decode(body.replace("\n", ""), validate=True)
        encoded = base64.b64encode(blob).decode()
        lines = [encoded[at : at + COLUMNS] for at in range(0, len(encoded), COLUMNS)]
        if body != "".join(f"{line}\n" for line in lines) or blob[:10] != MAGIC + VERSION.to_bytes(4, "big"):
            return None
        key, namespace, reserved, _hash, _signature = _fields(blob[10:])
        kind = _string(key)[0].decode("ascii")
        if reserved:
            return None
        return Signature(text, f"{kind} {base64.b64encode(key).decode()}", namespace.decode("utf-8"))
    except (ValueError, binascii.Error):
        return None


def _fields(blob: bytes) -> list[bytes]:
    """The five texts that follow each other in a signature. ValueError for more or fewer."""
    found = []
    for _ in range(5):
        field, blob = _string(blob)
        found.append(field)
    if blob:
        raise ValueError("more than a signature has")
    return found


def _string(blob: bytes) -> tuple[bytes, bytes]:
    """A text with its length before it (RFC 4251), and what follows."""
    size = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + size:
        raise ValueError("cut off")
    return blob[4 : 4 + size], blob[4 + size :]
