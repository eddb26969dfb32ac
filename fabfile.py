"""The tasks that `fab` offers, in one namespace. No logic here."""

from invoke.collection import Collection

from tasks import (
    auditing,
    backups,
    commandline,
    hostkeys,
    inventory,
    lab,
    records,
    recovery,
    reports,
    revocation,
    rotation,
    status,
    upkeep,
    verification,
)

namespace = Collection(
    hostkeys.trust,
    rotation.plan,
    rotation.rotate,
    revocation.revoke,
    recovery.resume,
    recovery.rollback,
    recovery.reconcile,
    verification.verify,
    auditing.audit,
    upkeep.fix,
    upkeep.install,
    upkeep.uninstall,
    upkeep.watch,
    backups.backup,
    backups.restore,
    records.history,
    reports.report,
    reports.evidence,
    status.status,
    inventory=inventory,
    lab=lab,
)
commandline.begin(namespace)
