"""TLS to the service on this machine, if it speaks TLS.

Runs ON a host, in one text with agent.py. Who has the other end of a call is known by the kernel (system.py), with TLS
and without; what a certificate adds is whether the service's own clients would accept it. So its chain and its dates
are checked, and its name is not: we call a number.
"""

import errno

from hivekeys.host.paths import read_roots
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    import socket
    from typing import Any, Optional

CA_BYTES = 1 << 20
PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN (3.10): the service's own certificate is an authority, too
# What OpenSSL calls an answer that is no TLS, by version.
NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


class Tls:
    """How a service that speaks TLS is spoken to. `authorities`: certificates (PEM), None for the host's own."""

    def __init__(self, authorities: "Optional[bytes]", verify: bool) -> None:
        self.authorities = authorities
        self.verify = verify

    def context(self) -> "Any":
        import ssl  # noqa: PLC0415  20 ms, and most services speak plain HTTP

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        elif self.authorities is None:
            context.load_default_certs()
        else:
            context.verify_flags |= PARTIAL_CHAIN
            try:
                context.load_verify_locations(cadata=self.authorities.decode("ascii", "replace"))
            except (ssl.SSLError, ValueError):
                raise Refusal("certificate-refused", "the file that `ca` names holds no certificate") from None
        return context

    def over(self, line: "socket.socket") -> "socket.socket":
        """The connection with TLS over it, within the time that it has. Raises Refusal, or OSError where it breaks."""
        import ssl  # noqa: PLC0415

        try:
            secured = self.context().wrap_socket(line)  # type: socket.socket
        except ssl.SSLError as error:
            if error.reason == "CERTIFICATE_VERIFY_FAILED":
                why = getattr(error, "verify_message", "") or "it is not to be trusted"  # from Python 3.7 on
                raise Refusal("certificate-refused", "the service's certificate: %s" % why) from None
            if error.reason in NO_TLS:
                raise Refusal("wrong-scheme", "it speaks no TLS, and the inventory says https") from None
            raise OSError(errno.EPROTO, "TLS: %s" % (error.reason or "the handshake failed")) from None
        return secured


def tls_of(root: str, service: "dict[str, Any]") -> "Optional[Tls]":
    """How the service is spoken to over TLS; None where it speaks plain HTTP."""
    if service["scheme"] != "https":
        return None
    authorities = None  # type: Optional[bytes]
    if service["verify"] and service["ca"]:
        try:
            authorities = read_roots(root, service["ca"], CA_BYTES)
        except OSError as error:
            raise Refusal("certificate-refused", "%s: %s" % (service["ca"], error.strerror)) from None
        if authorities is None:
            raise Refusal("certificate-refused", "%s has more than %d bytes" % (service["ca"], CA_BYTES))
    return Tls(authorities, service["verify"])
