#!/usr/bin/env bash
# The control socket is for root and the server's user alone, is taken over from a dead server and
# not from a living one, and goes away with its server.
set -euo pipefail
source "$CLIENTS/lib.sh"

status() {
    "$BEDPLATE" status "$@"
}

serve --raw disk=mem:1M
[[ -S server.control ]] || fail "there is no control socket"
expect_equal 600 "$(stat -c %a server.control)"
status | grep -qE '^health +good$'
expect_equal "$server_pid" "$(status --json | jq .pid)"
# Another server at the same socket does not start, and the one that is there goes on.
refuse 1 'server\.control: .*another server listens there' serve --raw disk=mem:1M \
    --nbd "unix:$PWD/other.sock"
status --json | jq -e '.problems == []' >/dev/null
if ((EUID == 0)); then
    # Nobody else gets in, even where the socket's mode would let them.
    chmod 666 server.control
    chmod 755 . "$(dirname "$PWD")"
    cp "$BEDPLATE" ./copy
    refused() {
        setpriv --reuid=65534 --regid=65534 --clear-groups ./copy "$@"
    }
    expect_fail 'only root and the user that the server runs as' refused status
    expect_fail 'only root' refused volume create main/x --size 1M
    chmod 600 server.control
    expect_fail 'you may not control the server' refused status
fi
stop
[[ ! -e server.control ]] || fail "a stopped server leaves its control socket"

serve --raw disk=mem:1M
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
server_pid=
[[ -S server.control ]] || fail "a killed server has no time to remove its socket"
refuse 1 'server\.control: the server that was there has ended' status
serve --raw disk=mem:1M
status | grep -qE '^health +good$'
stop

# A path of one's own, by word or in the config file; what cannot be made is an error.
printf 'nbd = ["unix:%s"]\ncontrol = "%s"\n[raw.disk]\nurl = "mem:1M"\n' \
    "$socket" "$PWD/config.sock" >config.toml
unset BEDPLATE_CONTROL
start server --config config.toml
status --control config.sock | grep -qE '^health +good$'
stop
refuse 1 'no/folder/x\.sock: .*create the folder' serve --raw disk=mem:1M \
    --nbd "unix:$socket" --control no/folder/x.sock
refuse 1 'elsewhere\.sock: there is no running server' status --control elsewhere.sock
