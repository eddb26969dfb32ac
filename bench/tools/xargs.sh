#!/usr/bin/env bash
# OpenSSH, 50 at a time with xargs: one connection, one exec, one script on stdin.
# xargs.sh SSH-CONFIG HOSTS-FILE SCRIPT-FILE; a line of HOSTS-FILE is: wave name unit port/health-path
set -euo pipefail
export config=$1 script=$3
for wave in queen hive; do
	# shellcheck disable=SC2016  # the inner shell expands it, once for each host
	awk -v wave="$wave" '$1 == wave { print $2, $3, $4 }' "$2" |
		xargs -P 50 -L 1 sh -c 'exec ssh -F "$config" -o BatchMode=yes "$1" "sudo -n sh -eu -s $2 $3" <"$script"' turn
done
