"""The keys of an inventory as pydantic models, and every mistake in a file with the path of its key. Pure.

The only module of the inventory that names pydantic, which is slow to import: tasks import `inventory`, and with it
this, when they run. pydantic walks the tables and gathers the mistakes; `values.py` says what a value may be. The value
of an unknown key is never shown: it might be a password.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Required, cast

from pydantic import (
    AfterValidator,
    ConfigDict,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict  # pydantic refuses the standard one before Python 3.12

from hivekeys.fleet import MOST_PROCESSES, Amount, Approver, Batch, Become, Occasion, Order, Role, Span, SudoLog
from hivekeys.inventory import approving, notifying, values, windows
from hivekeys.inventory.batches import batch
from hivekeys.inventory.mistakes import Mistake, kind, value_text, wrong
from hivekeys.service import Accepts, Apply, Drain, Format, Hook, Idle, OnDeadline

Port = Annotated[int, PlainValidator(values.whole(1, 65_535))]
Seconds = Annotated[float, PlainValidator(values.seconds(least=0.1))]
FilePath = Annotated[str, PlainValidator(values.file_path)]
Account = Annotated[str, PlainValidator(values.account)]


CheckIds = Callable[[], Collection[str]]  # the ids of the checks of `fab verify`, which is a floor above


def _check_id(value: object, info: ValidationInfo) -> str:
    known = cast("CheckIds", info.context)
    return values.check_id(value, known())


class FrontKeys(TypedDict, total=False):
    """`front` of a service whose `accepts` is "front"."""

    listen: Annotated[str, PlainValidator(values.listen)]
    certificate: Annotated[str, PlainValidator(values.path_in_front)]
    key: Annotated[str, PlainValidator(values.path_in_front)]
    ca: Annotated[str, PlainValidator(values.authorities)]
    verify: Annotated[bool, PlainValidator(values.flag)]
    public: Annotated[tuple[str, ...], PlainValidator(values.public_paths)]
    start: Annotated[str, PlainValidator(values.command)]
    firewall: Annotated[bool, PlainValidator(values.flag)]
    own_token: Annotated[bool, PlainValidator(values.flag)]


class HookKeys(TypedDict, total=False):
    """`before` and `after` of a drain."""

    run: Annotated[tuple[str, ...], PlainValidator(values.argv(absolute=True))]
    http: Annotated[str, PlainValidator(values.http_request)]
    bastion: Annotated[tuple[str, ...], PlainValidator(values.argv(absolute=False))]


class IdleKeys(TypedDict, total=False):
    """`until` of a drain."""

    get: Annotated[str, PlainValidator(values.http_path)]
    none: Annotated[str, PlainValidator(values.pattern)]
    run: Annotated[tuple[str, ...], PlainValidator(values.argv(absolute=True))]
    every: Seconds


def _hook(keys: HookKeys) -> Hook:
    if len(keys) != 1:
        raise ValueError('one of run = ["/PROGRAM", …], http = "POST /PATH" and bastion = ["PROGRAM", …]')
    return Hook(**keys)


def _before(value: object, as_table: Callable[[object], Hook]) -> Hook:
    """`before` may be the word "front" instead of a table."""
    return Hook(front=True) if value == "front" else as_table(value)


def _idle(keys: IdleKeys) -> Idle:
    if not ("run" in keys) ^ ("get" in keys) or ("none" in keys) != ("get" in keys):
        raise ValueError('get = "/PATH" with none = "REGULAR EXPRESSION"; or run = ["/PROGRAM", …]')
    return Idle(**keys)


class DrainKeys(TypedDict, total=False):
    """`drain` of a service: what frees it of work before a restart."""

    before: Annotated[HookKeys, AfterValidator(_hook), WrapValidator(_before)]
    until: Annotated[IdleKeys, AfterValidator(_idle)]
    after: Annotated[HookKeys, AfterValidator(_hook)]
    deadline: Annotated[float, PlainValidator(values.duration)]
    on_deadline: Annotated[OnDeadline, PlainValidator(values.choice(OnDeadline))]


def _drain(keys: DrainKeys) -> Drain | None:
    """A drain; None for one that has nothing to do. The hooks are hooks by now: pydantic has made them."""
    before = cast("Hook | None", keys.get("before"))
    if before and before.front and "after" in keys:
        raise ValueError('no `after` beside before = "front": the front lets requests in again by itself')
    if before and before.front:
        return Drain(**cast("dict[str, Any]", {**keys, "after": before}))
    if before and "after" not in keys:
        raise ValueError("after = {…} as well: it undoes what `before` does")
    drain = Drain(**cast("dict[str, Any]", keys))
    return drain if drain.before or drain.until or drain.after else None


class ServiceKeys(TypedDict, total=False):
    """`[services.queen]`, `[services.hive]`, `[services.client]` and the `service` of a host."""

    unit: Annotated[str, PlainValidator(values.unit)]
    token: Annotated[str, PlainValidator(values.token_path)]
    format: Annotated[Format, PlainValidator(values.choice(Format))]
    owner: Account
    group: Account
    mode: Annotated[int, PlainValidator(values.mode(values.FILE_MODES))]
    directory_mode: Annotated[int, PlainValidator(values.mode(values.DIRECTORY_MODES))]
    port: Port
    health: Annotated[tuple[str, ...], PlainValidator(values.http_paths)]
    protected: Annotated[tuple[str, ...], PlainValidator(values.http_paths_or_none)]
    stream: Annotated[str, PlainValidator(values.http_path)]
    places: Annotated[tuple[str, ...], PlainValidator(values.places)]
    tokenless: Annotated[tuple[int, ...], PlainValidator(values.ports)]
    address: Annotated[str, PlainValidator(values.listens_on)]
    scheme: Annotated[str, PlainValidator(values.scheme)]
    ca: Annotated[str, PlainValidator(values.authorities)]
    verify: Annotated[bool, PlainValidator(values.flag)]
    apply: Annotated[Apply, PlainValidator(values.choice(Apply))]
    signal: Annotated[str, PlainValidator(values.signal)]
    accepts: Annotated[Accepts, PlainValidator(values.choice(Accepts))]
    tokens: Annotated[str, PlainValidator(values.token_list)]
    front: FrontKeys
    drain: Annotated[DrainKeys, AfterValidator(_drain)]


class ServicesKeys(TypedDict, total=False):
    """`[services]`."""

    queen: ServiceKeys
    hive: ServiceKeys
    client: ServiceKeys


class LoginKeys(TypedDict, total=False):
    """How to reach a host: in `[ssh]` for all of them, in `[hosts.NAME]` for one entry."""

    user: Annotated[str, PlainValidator(values.user)]
    port: Port
    key: FilePath
    jump: Annotated[str, PlainValidator(values.jump)]
    become: Annotated[Become, PlainValidator(values.choice(Become))]
    python: Annotated[str, PlainValidator(values.python)]
    sudo_log: Annotated[SudoLog, PlainValidator(values.choice(SudoLog))]


LOGIN = tuple(LoginKeys.__annotations__)  # how a host is reached, but for its address


class SshKeys(LoginKeys, total=False):
    """`[ssh]`."""

    known_hosts: Annotated[tuple[str, ...], PlainValidator(values.file_paths)]
    config: FilePath
    sudo_password_file: FilePath


class HostKeys(LoginKeys, total=False):
    """`[hosts.NAME]`."""

    role: Required[Annotated[Role, PlainValidator(values.choice(Role))]]
    address: Annotated[str, PlainValidator(values.address)]
    beside: Annotated[str, PlainValidator(values.host_name)]
    groups: Annotated[tuple[str, ...], PlainValidator(values.group_names)]
    service: ServiceKeys


class GroupKeys(LoginKeys, total=False):
    """`[groups.NAME]`."""

    service: ServiceKeys


class TimeoutKeys(TypedDict, total=False):
    """`[timeouts]`."""

    connect: Seconds
    banner: Seconds
    auth: Seconds
    channel: Seconds
    request: Seconds


class RolloutKeys(TypedDict, total=False):
    """`[rollout]`."""

    order: Annotated[Order, PlainValidator(values.choice(Order))]
    canary: Annotated[int, PlainValidator(values.whole(0, 10_000))]
    batch: Annotated[Batch, PlainValidator(batch)]
    width: Annotated[int, PlainValidator(values.whole(1, 1_000))]
    processes: Annotated[int, PlainValidator(values.whole(1, MOST_PROCESSES))]
    max_failures: Annotated[Amount, PlainValidator(values.amount(least=0))]
    health_deadline: Seconds
    stable_seconds: Annotated[float, PlainValidator(values.seconds(least=0))]
    overlap: Annotated[float, PlainValidator(values.overlap)]
    revocation_recheck: Annotated[float, PlainValidator(values.seconds(least=0))]


class TokenAgeKeys(TypedDict, total=False):
    """`[token_age]`."""

    warn: Annotated[float, PlainValidator(values.days)]
    fail: Annotated[float, PlainValidator(values.days)]


class WindowsKeys(TypedDict, total=False):
    """`[windows]`: when the fleet may be turned."""

    zone: Required[Annotated[str, PlainValidator(windows.zone)]]
    allowed: Annotated[tuple[Span, ...], PlainValidator(windows.spans)]
    frozen: Annotated[tuple[Span, ...], PlainValidator(windows.spans)]


class ApprovalKeys(TypedDict, total=False):
    """`[approval]`: who may approve that the fleet is turned."""

    keys: Required[Annotated[tuple[Approver, ...], PlainValidator(approving.keys)]]
    needed: Annotated[int, PlainValidator(values.whole(1, 10))]
    valid: Annotated[float, PlainValidator(approving.valid)]


def _approval(keys: ApprovalKeys) -> ApprovalKeys:
    approving.enough(keys["keys"], keys.get("needed", 1))
    return keys


class BackupKeys(TypedDict, total=False):
    """`[backup]`."""

    to: Annotated[tuple[str, ...], PlainValidator(values.recipients)]
    keep: Annotated[int, PlainValidator(values.whole(1, 10_000))]


class NotifyKeys(TypedDict, total=False):
    """`[notify.NAME]`: who is told of a run."""

    on: Annotated[tuple[Occasion, ...], PlainValidator(notifying.occasions)]
    run: Annotated[tuple[str, ...], PlainValidator(values.argv(absolute=True))]
    webhook: Annotated[str, PlainValidator(notifying.https)]
    webhook_file: FilePath
    header_file: FilePath
    mail: Annotated[tuple[str, ...], PlainValidator(values.several(notifying.mail_address, 1))]


def _notify(keys: NotifyKeys) -> NotifyKeys:
    notifying.one_way(keys)
    return keys


class WaiverKeys(TypedDict, total=False):
    """One of `[[waivers]]`."""

    check: Required[Annotated[str, PlainValidator(_check_id)]]
    reason: Required[Annotated[str, PlainValidator(values.reason)]]
    until: Required[Annotated[date, PlainValidator(values.day)]]
    hosts: Annotated[tuple[str, ...], PlainValidator(values.host_names)]


class AnsibleKeys(TypedDict, total=False):
    """`[ansible]`: the hosts are in an inventory of Ansible's."""

    inventory: Required[FilePath]
    queen: Annotated[str, PlainValidator(values.group)]
    hives: Annotated[str, PlainValidator(values.group)]
    clients: Annotated[str, PlainValidator(values.group)]
    ignore: Annotated[tuple[str, ...], PlainValidator(values.words)]


class LlamaOrchKeys(TypedDict, total=False):
    """`[llama_orch]`: the hives are in llama-orch's own hives.conf."""

    hives: Required[FilePath]


@with_config(ConfigDict(extra="forbid"))
class Document(TypedDict, total=False):
    """A whole file."""

    fleet: Required[Annotated[str, PlainValidator(values.fleet_name)]]
    ssh: SshKeys
    timeouts: TimeoutKeys
    rollout: RolloutKeys
    token_age: TokenAgeKeys
    services: ServicesKeys
    waivers: list[WaiverKeys]
    backup: BackupKeys
    windows: WindowsKeys
    approval: Annotated[ApprovalKeys, AfterValidator(_approval)]
    notify: dict[Annotated[str, PlainValidator(values.fleet_name)], Annotated[NotifyKeys, AfterValidator(_notify)]]
    ansible: AnsibleKeys
    llama_orch: LlamaOrchKeys
    groups: dict[Annotated[str, PlainValidator(values.host_group)], GroupKeys]
    hosts: dict[Annotated[str, PlainValidator(values.host_name)], HostKeys]


_DOCUMENT = TypeAdapter(Document)
_REQUIRED = {
    "fleet": 'the name of the fleet, such as fleet = "production"',
    "inventory": 'the path of an Ansible inventory, such as inventory = "hosts.yml"',
    "hives": 'the path of a hives.conf, such as hives = "~/.config/rbee/hives.conf"',
    "zone": 'the time zone of the spans, such as zone = "Europe/Berlin"',
    "keys": 'SSH public keys, such as keys = ["ssh-ed25519 AAAA… alice@example"]',
    "role": '"queen", "hive" or "client"',
    "check": "the name of a check, such as credential",
    "reason": "why the check need not pass",
    "until": "the last day that it holds, such as 2027-01-31",
}


def checked(document: Mapping[str, Any], check_ids: CheckIds = tuple) -> tuple[Document | None, list[Mistake]]:
    """The document with every value as the engine uses it, or every mistake that is in its values."""
    try:
        return _DOCUMENT.validate_python(document, context=check_ids), []
    except ValidationError as error:
        return None, [_mistake(each) for each in error.errors(include_url=False)]


def _mistake(error: ErrorDetails) -> Mistake:
    # Tables of a list are counted from 1, as people count them.
    key = tuple(str(part + 1 if isinstance(part, int) else part) for part in error["loc"] if part != "[key]")
    value = error["input"]
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(key[-1], _keys_beside(key), n=1)
            return Mistake(key, "unknown key" + (f", did you mean {near[0]}?" if near else ""))
        case "missing":
            return Mistake(key, f"missing, expected {_REQUIRED[key[-1]]}")
        case "value_error":
            return wrong(key, _found_value(key[-1], value), str(error["ctx"]["error"]))
        case other:  # dict_type and list_type, the only other things that pydantic itself looks for
            expected = f"tables, each headed [[{key[0]}]]" if other == "list_type" else "a table"
            return wrong(key, kind(value), expected)


def _found_value(key: str, value: object) -> str:
    """The value; but what should be a path may be the secret itself, and then is not shown."""
    if key in ("token", "key", "sudo_password_file") and isinstance(value, str) and not value.startswith(("/", "~")):
        return f"a text of {len(value)} characters"
    if key == "webhook":  # Slack's is a secret
        return "something else"
    if key in ("to", "keys") and re.search("SECRET-KEY|PRIVATE KEY", str(value), re.IGNORECASE):
        return "a secret key"
    return value_text(value)


_TABLES: dict[tuple[str, ...], type] = {
    (): Document,
    ("ssh",): SshKeys,
    ("timeouts",): TimeoutKeys,
    ("rollout",): RolloutKeys,
    ("token_age",): TokenAgeKeys,
    ("backup",): BackupKeys,
    ("notify", "*"): NotifyKeys,
    ("windows",): WindowsKeys,
    ("approval",): ApprovalKeys,
    ("waivers", "*"): WaiverKeys,
    ("ansible",): AnsibleKeys,
    ("llama_orch",): LlamaOrchKeys,
    ("services",): ServicesKeys,
    ("groups", "*"): GroupKeys,
    ("hosts", "*"): HostKeys,
}


_OF_DRAIN: dict[str, type] = {"drain": DrainKeys, "before": HookKeys, "until": IdleKeys, "after": HookKeys}


def _keys_beside(key: tuple[str, ...]) -> Iterable[str]:
    """The keys that the table of an unknown key may have."""
    above = key[:-1]
    if above[-1:] == ("front",):
        return FrontKeys.__annotations__
    if len(above) > 2 and above[-1] in _OF_DRAIN:
        return _OF_DRAIN[above[-1]].__annotations__
    table = _TABLES.get(above) or _TABLES.get((*above[:1], "*") if len(above) == 2 else above, ServiceKeys)
    return table.__annotations__
