#!/usr/bin/env bash
# ClusterShell's clush, fan-out 50: one connection, one exec, one script on stdin.
# clush.sh CLUSH SSH-CONFIG HOSTS-FILE SCRIPT-FILE
set -euo pipefail
for wave in queen hive; do
	names=$(awk -v wave="$wave" '$1 == wave { print $2 }' "$3" | paste -sd,)
	job=$(awk -v wave="$wave" '$1 == wave { print $3, $4; exit }' "$3")
	"$1" -q -S -f 50 -o "-F $2 -o BatchMode=yes" -w "$names" "sudo -n sh -eu -s $job" <"$4"
done
