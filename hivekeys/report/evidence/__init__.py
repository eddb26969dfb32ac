"""A run as one signed archive that can be checked anywhere, without hivekeys too. Pure."""

from hivekeys.report.evidence.check import Verdict, check
from hivekeys.report.evidence.contents import members
from hivekeys.report.evidence.seal import key_id, public_key, public_pem, sealed

__all__ = ["Verdict", "check", "key_id", "members", "public_key", "public_pem", "sealed"]
