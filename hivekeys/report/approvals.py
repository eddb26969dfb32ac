"""Who has approved a run, before or after it, and how that can be checked: lines, JSON, files of evidence. Pure."""

from hivekeys.fleet import Fleet
from hivekeys.journal.events import Approved
from hivekeys.journal.run import Run
from hivekeys.report.onward import typed
from hivekeys.text.documents import approvals as documents

SIGNERS = "allowed_signers"
HOW = """\
{content}, signed by {persons}; {signers} has their public keys, which are worth what you
compare them with: `ssh-keygen -lf`, and each person's own word. Each signature is checked so:

    ssh-keygen -Y verify -f {signers} -I PERSON -n {namespace} -s {stem}.1.sig <{stem}.json

"""


def approval_document(run: Run) -> documents.Approval | None:
    """How it was approved; None for a run of a fleet that asked for no approval."""
    if not (run.approvers or run.approvals):
        return None
    signed = [(approved, one) for approved in run.approvals for one in approved.signatures]
    return {
        "needed": run.approvers,
        "lacking": run.lacks_approval,
        "plan": run.plan or None,
        "by": [
            {"person": one.person, "key": one.fingerprint, "signed": approved.digest, "afterwards": approved.afterwards}
            for approved, one in signed
        ],
    }


def approval_words(run: Run) -> str:
    """Who has approved it, or that it is still to be approved; "" for a run that needs nobody's approval."""
    if run.lacks_approval:
        return "not approved yet"
    when = " afterwards" if any(approved.afterwards for approved in run.approvals) else ""
    return f"approved{when} by {', '.join(run.approved_by)}" if run.approvals else ""


def approval_lines(run: Run, fleet: Fleet) -> list[str]:
    """The same for people, with what to type."""
    words = approval_words(run)
    if run.lacks_approval:
        words += f": {typed('plan', fleet, '--propose', 'statement.json', '--run', run.id)}"
    return [words] if words else []


def signed_files(run: Run) -> dict[str, bytes]:
    """What was signed, the signatures, and a list of signers, as `ssh-keygen -Y verify` takes them; by name."""
    files: dict[str, bytes] = {}
    for stem, approved in _stems(run):
        files[f"{stem}.json"] = _text(approved.lines)
        for number, signed in enumerate(approved.signatures, 1):
            files[f"{stem}.{number}.sig"] = _text(signed.lines)
    signers = {
        f'{signed.person} namespaces="{approved.namespace}" {signed.key}': None
        for approved in run.approvals
        for signed in approved.signatures
    }
    return {**files, SIGNERS: _text(tuple(signers))} if signers else {}


def how_to_check(run: Run) -> str:
    """What is said of these files beside them."""
    said = {True: "what was done, as it was approved afterwards", False: "the plan that was carried out"}
    return "".join(
        HOW.format(
            content=f"{stem}.json is {said[approved.afterwards]}",
            persons=", ".join(approved.persons),
            signers=SIGNERS,
            namespace=approved.namespace,
            stem=stem,
        )
        for stem, approved in _stems(run)
    )


def _stems(run: Run) -> list[tuple[str, Approved]]:
    return [("statement" if approved.afterwards else "plan", approved) for approved in run.approvals]


def _text(lines: tuple[str, ...]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
