# shellcheck shell=sh disable=SC2164  # -e ends it where cd fails
# The job on one host, in one piece: `sudo -n sh -eu -s UNIT PORT/HEALTH-PATH`, with this text on stdin and the token in its place.
# Install atomically with owner and mode, look at both, restart, wait for health.
umask 077
cd /etc/llama-orch/secrets
cat >.bench-token <<'TOKEN'
@TOKEN@
TOKEN
chown llama-orch:llama-orch .bench-token
chmod 600 .bench-token
sync .bench-token
mv -f .bench-token api-token
[ "$(stat -c '%a %U:%G %s' api-token)" = "600 llama-orch:llama-orch 65" ]
systemctl restart "$1" </dev/null
for _ in $(seq 300); do
	curl -fs -o /dev/null "http://127.0.0.1:$2" </dev/null && exit 0
	sleep 0.05
done
exit 1
