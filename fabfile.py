"""The tasks that `fab` offers, in one namespace. No logic here."""

from invoke.collection import Collection

from tasks import inventory, lab
from tasks.audit import audit
from tasks.backup import backup
from tasks.evidence import evidence
from tasks.fix import fix
from tasks.history import history
from tasks.install import install
from tasks.plan import plan
from tasks.reconcile import reconcile
from tasks.report import report
from tasks.restore import restore
from tasks.resume import resume
from tasks.revoke import revoke
from tasks.rollback import rollback
from tasks.rotate import rotate
from tasks.status import status
from tasks.terminal import commandline
from tasks.trust import trust
from tasks.uninstall import uninstall
from tasks.verify import verify
from tasks.watch import watch

namespace = Collection(
    trust,
    plan,
    rotate,
    revoke,
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
commandline.begin(namespace)
