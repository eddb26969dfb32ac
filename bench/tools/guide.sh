#!/usr/bin/env bash
# The guide's own way ("Rotation Procedure"): a host after the other, a command a connection.
# guide.sh SSH-CONFIG HOSTS-FILE TOKEN-FILE
set -euo pipefail
secrets=/etc/llama-orch/secrets
while read -r _ host unit health; do
	on() { ssh -F "$config" -n -o BatchMode=yes "$host" "$@"; }
	config=$1
	scp -q -p -F "$config" "$3" "$host:/tmp/api-token-new"
	on "sudo cp /tmp/api-token-new $secrets/api-token"
	on "sudo chown llama-orch:llama-orch $secrets/api-token"
	on "sudo chmod 600 $secrets/api-token"
	on "rm /tmp/api-token-new"
	on "sudo systemctl restart $unit"
	until on "curl -f -s http://localhost:$health >/dev/null"; do sleep 1; done
done <"$2"
