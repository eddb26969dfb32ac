"""Work on hosts that is no rotation: fix, install, uninstall, watch, restrict."""
