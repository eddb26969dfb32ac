"""Work on hosts besides rotations: fix, install, uninstall, watch, restrict."""
