"""Tells people by mail, through the bastion's own `sendmail`: every MTA has one."""

import shutil
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP

from hivekeys.tasks.notifications.command import start
from hivekeys.tasks.notifications.notification import Notification

PLACES = "/usr/sbin:/usr/lib"  # where it is found although an operator's PATH has neither


def sendmail() -> str | None:
    """The program's path; None where there is none."""
    return shutil.which("sendmail") or shutil.which("sendmail", path=PLACES)


def send(to: Sequence[str], notification: Notification, patience: float) -> str:
    """Hands the notification over. What went wrong, "" if nothing did; what becomes of it then is the MTA's to say."""
    program = sendmail()
    if program is None:
        return "there is no program sendmail on this bastion"
    message = EmailMessage(policy=SMTP.clone(linesep="\n"))
    message["To"] = ", ".join(to)
    message["Subject"] = f"hivekeys: {notification.title}"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note comes back
    if "run" in notification.facts:
        message["X-Hivekeys-Run"] = str(notification.facts["run"])
    message.set_content(f"{notification.title}\n\n{notification.text}")
    return start((program, "-i", "-t"), message.as_string(), {}, patience)
