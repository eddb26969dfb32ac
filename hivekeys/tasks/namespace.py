"""The verbs that an operator types, in one namespace. No logic here."""

from invoke.collection import Collection

from hivekeys.tasks import inventory, lab
from hivekeys.tasks.approve import approve
from hivekeys.tasks.audit import audit
from hivekeys.tasks.backup import backup
from hivekeys.tasks.evidence import evidence
from hivekeys.tasks.fix import fix
from hivekeys.tasks.history import history
from hivekeys.tasks.init import init
from hivekeys.tasks.install import install
from hivekeys.tasks.plan import plan
from hivekeys.tasks.reconcile import reconcile
from hivekeys.tasks.report import report
from hivekeys.tasks.restore import restore
from hivekeys.tasks.resume import resume
from hivekeys.tasks.revoke import revoke
from hivekeys.tasks.rollback import rollback
from hivekeys.tasks.rotate import rotate
from hivekeys.tasks.status import status
from hivekeys.tasks.trust import trust
from hivekeys.tasks.uninstall import uninstall
from hivekeys.tasks.verify import verify
from hivekeys.tasks.watch import watch

namespace = Collection(
    init,
    trust,
    plan,
    rotate,
    revoke,
    approve,
    resume,
    rollback,
    reconcile,
    verify,
    audit,
    fix,
    install,
    uninstall,
    watch,
    backup,
    restore,
    history,
    report,
    evidence,
    status,
    inventory=inventory,
    lab=lab,
)
