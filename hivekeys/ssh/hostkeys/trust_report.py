"""Shows host keys, old and new: one screen of fingerprints, or JSON. Pure."""

from collections import defaultdict
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.protocol import hints
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.trust import SETTLED, TRUSTED, ServerKeys, Standing
from hivekeys.text.commands import as_typed
from hivekeys.text.documents.head import head
from hivekeys.text.documents.trust import Trust
from hivekeys.text.names import fold_names

_STYLES = {Standing.NEW: "cyan", Standing.MORE: "cyan", Standing.CHANGED: "bold red", Standing.REVOKED: "bold red"}


def table(shown: Sequence[ServerKeys]) -> Table:
    """A row for each key that is not known yet, the old ones below it; hosts with the same in one.

    What is known needs no row. A fingerprint stays on one line down to 80 columns, since it is there to be compared.
    """
    rows: dict[tuple[Standing, HostKey, tuple[HostKey, ...]], list[str]] = defaultdict(list)
    for each in shown:
        for key in each.unknown if each.standing not in SETTLED else ():
            rows[each.standing, key, _before(each, key)].append(each.name)
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    made.add_column("hosts", overflow="fold")
    for title in ("", "type", "fingerprint"):
        made.add_column(title, no_wrap=True)
    for (standing, key, before), names in rows.items():
        style = _STYLES.get(standing, "")
        made.add_row(Text(fold_names(names)), Text(standing.value, style), _kind(key), Text(key.fingerprint, style))
        for old in before:
            made.add_row(Text(), Text("was"), _kind(old), Text(old.fingerprint))
    return made


def _kind(key: HostKey) -> Text:
    """The type in one word, as ssh-keygen has it: ed25519, ecdsa, rsa."""
    return Text(key.kind.removeprefix("ssh-").partition("-")[0])


def _before(shown: ServerKeys, key: HostKey) -> tuple[HostKey, ...]:
    """What known_hosts has in the place of a key: of the same type; all there is where no type is the same."""
    same = tuple(known for known in shown.known.keys if known.kind == key.kind)
    is_other = shown.standing is Standing.CHANGED and not {each.kind for each in shown.presented} & {*shown.known.kinds}
    return same or (shown.known.keys if is_other and key == shown.presented[0] else ())


def lines(shown: Sequence[ServerKeys], fleet: Fleet) -> list[str]:
    """What is said below the table: who needs nothing, who has changed and what to do then, who is out of reach."""
    by: dict[Standing, list[str]] = defaultdict(list)
    for each in shown:
        by[each.standing].append(each.name)
    said = [f"{standing.value}: {fold_names(by[standing])}" for standing in SETTLED if by[standing]]
    if by[Standing.CHANGED]:
        names = fold_names(by[Standing.CHANGED])
        said.append(
            f"CHANGED: {names}: other keys than known_hosts has. Re-installed? Or does somebody intercept the "
            f"connection? Compare them on the console first; then: {_replace(fleet, by[Standing.CHANGED])}"
        )
    if by[Standing.REVOKED]:
        said.append(f"REVOKED: {fold_names(by[Standing.REVOKED])}: a key that is marked @revoked is never written")
    said += [hints.line(each.cause, fleet, each.name) for each in shown if each.cause]
    return said


def code(shown: Sequence[ServerKeys]) -> ExitCode:
    """0 when every host is trusted now, else 4."""
    return ExitCode.DONE if all(each.standing in TRUSTED for each in shown) else ExitCode.INCOMPLETE


def summary(shown: Sequence[ServerKeys], written: Sequence[str]) -> str:
    """The last line, with who is still not trusted and why."""
    left = [each for each in shown if each.standing not in TRUSTED]
    why = "".join(f"\n  {each.name}: {each.cause or each.standing.value}" for each in left)
    return f"{len(shown)} hosts: {len(shown) - len(left)} trusted ({len(written)} written now), {len(left)} not{why}"


def _replace(fleet: Fleet, names: Sequence[str]) -> str:
    return as_typed(f"fab trust --fleet {fleet.typed} --replace {','.join(names)}")


def _next(fleet: Fleet, shown: Sequence[ServerKeys]) -> str:
    """What to type next: for changed keys, or for the first host that showed none."""
    if changed := [each.name for each in shown if each.standing is Standing.CHANGED]:
        return f"compare the keys on the console first; then: {_replace(fleet, changed)}"
    return next((hints.hint(each.cause, fleet, each.name) for each in shown if each.cause), "")


def document(fleet: Fleet, shown: Sequence[ServerKeys], written: Sequence[str], code: ExitCode) -> Trust:
    """Everything, for a program."""
    return {
        "form": "trust",
        **head(summary(shown, written).partition("\n")[0], _next(fleet, shown)),
        "fleet": fleet.name,
        "exit_code": int(code),
        "hosts": [
            {
                "host": each.name,
                "known_as": each.known.name,
                "standing": each.standing.value.lower(),
                "written": each.name in written,
                "keys": [
                    {"type": key.kind, "fingerprint": key.fingerprint, "known": key in each.known.keys}
                    for key in each.presented
                ],
                "known_keys": [{"type": key.kind, "fingerprint": key.fingerprint} for key in each.known.keys],
                "cause": {"trouble": each.cause.trouble.value, "detail": each.cause.detail} if each.cause else None,
            }
            for each in shown
        ],
    }
