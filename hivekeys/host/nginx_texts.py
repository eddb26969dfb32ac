"""The configuration of a front and its unit, as texts to be filled in.

Runs ON a host, in one text with agent.py, where the service has a front.
"""

SERVER = """\
%(header)suser %(account)s;
worker_processes auto;
worker_rlimit_nofile 65536;
pid %(run)s/nginx.pid;
error_log %(log)s/error.log warn;
events { worker_connections 16384; }
http {
    map $time_iso8601 $hivekeys_second { "~^(?<to_second>.{19})" $to_second; }
    map $time_iso8601 $hivekeys_zone { "~^.{19}(?<zone>.*)$" $zone; }
    map $msec $hivekeys_ms { "~(?<ms>[0-9]{3})$" $ms; }
    log_format of_tokens escape=json '{"timestamp":"$hivekeys_second.$hivekeys_ms$hivekeys_zone",'
        '"service_id":"%(name)s","slot":"$hivekeys_slot",'
        '"event":{"event_type":"$hivekeys_event","attempted_user":"$hivekeys_user",'
        '"ip":"$remote_addr","method":"$request_method","path":"$uri"},"status":"$status","seconds":"$request_time"}';
    access_log %(log)s/access.ndjson of_tokens;
    server_tokens off;
    default_type application/json;
    keepalive_timeout %(keepalive)ds;
    client_max_body_size 0;
    large_client_header_buffers 4 16k;
    client_body_timeout 1h;
    send_timeout 1h;
    client_body_temp_path %(run)s/body;
    proxy_temp_path %(run)s/proxy;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_next_upstream off;
    proxy_connect_timeout 5s;
    proxy_read_timeout 24h;
    proxy_send_timeout 1h;
    proxy_ssl_server_name on;
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Authorization $hivekeys_own;
    include %(folder)s/accepted.conf;
    include %(folder)s/own.conf;
    map $hivekeys_slot $hivekeys_event { default auth_success; none auth_failure; }
    server {
        listen %(listen)s%(ssl)s;
%(tls)s        location / {
            error_page 418 = @closing;
            error_page 401 @unknown;
            error_page 503 @draining;
            if ($hivekeys_slot = none) { return 401; }
            if (-f %(run)s/draining) { return 503; }
            if (-f %(run)s/closing) { return 418; }
            proxy_pass %(upstream)s;
        }
        location @closing {
            keepalive_timeout 0;
            proxy_pass %(upstream)s;
        }
        location @unknown {
            add_header WWW-Authenticate Bearer always;
            return 401 '{"error":{"code":"INVALID_API_KEY","message":"Invalid or missing API key"}}';
        }
        location @draining {
            add_header Retry-After 5 always;
            return 503 '{"error":{"code":"DRAINING","message":"Try again in a moment"}}';
        }
%(public)s    }
}
"""
PUBLIC = """\
        location = "%(path)s" {
            access_log off;
            error_page 418 = @closing;
            if (-f %(run)s/closing) { return 418; }
            proxy_pass %(upstream)s;
        }
"""
TLS = """\
        ssl_certificate "%(certificate)s";
        ssl_certificate_key "%(key)s";
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
"""
ROTATED = """\
%(header)s%(log)s/access.ndjson %(log)s/error.log {
    daily
    rotate 30
    maxsize 200M
    compress
    delaycompress
    missingok
    notifempty
    copytruncate
}
"""
NFT = """\
%(header)stable inet %(table)s
delete table inet %(table)s
table inet %(table)s {
    chain input {
        type filter hook input priority -10; policy accept;
        iif != lo tcp dport %(port)d reject with tcp reset
    }
}
"""
UNIT = """\
%(header)s[Unit]
Description=nginx before %(behind)s
After=network-online.target
Wants=network-online.target

[Service]
Type=forking
PIDFile=%(run)s/nginx.pid
ExecStart=%(nginx)s -q -c %(folder)s/nginx.conf
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
TimeoutStopSec=5
Restart=on-failure
LimitNOFILE=65536
RuntimeDirectory=%(name)s
RuntimeDirectoryMode=0711
LogsDirectory=%(name)s
LogsDirectoryMode=0700
Environment=LLORCH_API_TOKEN_FILE=%(folder)s/api-token LLORCH_AUDIT_MODE=local LLORCH_AUDIT_DIR=%(log)s
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true

[Install]
WantedBy=multi-user.target
"""
