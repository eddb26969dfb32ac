"""The rehearsal fleet: real Debian hosts on this machine, to try and test hivekeys on.

    lab = up("lab-mine", hives=3, releases=("bookworm", "trixie"), inventory_dir=folder)
    lab.run("hive1", ["systemctl", "is-active", "rbee-hive"]).stdout
    inject(lab, "hive2", "start-fails")
    mend(lab, "hive2")
    down(lab)

Everything happens on this machine: nothing is sent anywhere but to the lab's own hosts.
"""

from hivekeys.lab.lifecycle import down, up, whole
from hivekeys.lab.memory import load, names
from hivekeys.lab.model import Accepts, Host, Lab, Shape, Units

__all__ = ["Accepts", "Host", "Lab", "Shape", "Units", "down", "load", "names", "up", "whole"]
