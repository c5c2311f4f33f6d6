#!/usr/bin/env bash
# What 'volume xml' tells libvirt follows from how the server is reached, and what would be of no
# use is refused. Whether libvirt takes it is seen in test-libvirt.sh.
set -euo pipefail
source "$CLIENTS/lib.sh"

# xml WHAT ARGUMENT... prints WHAT of the disk.
xml() {
    "$BEDPLATE" volume xml "${@:2}" | xmllint --xpath "string($1)" -
}

certificates
"$BEDPLATE" store create store.img --size 128M --segment-size 1M
serve --store main=store.img --nbd 127.0.0.1:0
"$BEDPLATE" volume create main/vm1 --size 16M
"$BEDPLATE" snapshot create main/vm1@fresh
port=$("$BEDPLATE" status --json | jq -r '.nbd[] | select(startswith("127")) | split(":")[1]')

expect_equal off "$("$BEDPLATE" status --json | jq -r .tls)"
expect_equal "$socket" "$(xml //host/@socket main/vm1)"
expect_equal no "$(xml //source/@tls main/vm1)"
expect_equal main/vm1@fresh "$(xml //source/@name main/vm1@fresh)"
"$BEDPLATE" volume xml main/vm1@fresh | grep -q '<readonly/>'
expect_equal 'storage.example.org 7' "$(xml 'concat(//host/@name, " ", //host/@port)' main/vm1 \
    --nbd storage.example.org:7)"
odd='/run/a b&<"'\''>/nbd.sock'
expect_equal "$odd" "$(xml //host/@socket main/vm1 --nbd "unix:$odd")"
expect_equal /bedplate/main/vm1 "$(xml //secret/@usage main/vm1 --luks)"
expect_equal /bedplate/main/vm1 \
    "$("$BEDPLATE" volume secret-xml main/vm1 | xmllint --xpath 'string(//volume)' -)"
expect_equal 60 "$(xml //reconnect/@delay main/vm1@fresh --reconnect-delay 60 2>said)"
[[ ! -s said ]] || fail "$(cat said)"
expect_equal 60 "$(xml //reconnect/@delay main/vm1 --reconnect-delay 60 2>said)"
grep -q 'not write-through.*volume set main/vm1 write-through=on' said || fail "$(cat said)"
"$BEDPLATE" volume set main/vm1 write-through=on
"$BEDPLATE" volume xml main/vm1 --reconnect-delay 60 2>said >/dev/null
[[ ! -s said ]] || fail "$(cat said)"
refuse 2 'HOST:PORT' volume xml main/vm1 --nbd unix:nbd.sock
refuse 2 'vda or sdb' volume xml main/vm1 --target nvme0n1
refuse 2 '1\.\.' volume xml main/vm1 --reconnect-delay 0
refuse 1 'no block device shows it.*attach' volume xml main/vm1 --ublk
refuse 1 'there is no vm9' volume xml main/vm9
refuse 1 'there is no vm9' volume secret-xml main/vm9
refuse 1 'there is no such snapshot' volume xml main/vm1@no
refuse 1 'no certificate' volume xml main/vm1 --tls-hostname storage
stop
refuse 1 'nobody serves it over NBD.*--nbd' volume xml main/vm1 --store main=store.img

serve_tls --tls-optional --store main=store.img --nbd 127.0.0.1:"$port"
expect_equal optional "$("$BEDPLATE" status --json | jq -r .tls)"
expect_equal no "$(xml //source/@tls main/vm1)"
expect_equal yes "$(xml //source/@tls main/vm1 --nbd "127.0.0.1:$port")"
stop
serve_tls --store main=store.img --nbd 127.0.0.1:"$port"
expect_equal required "$("$BEDPLATE" status --json | jq -r .tls)"
expect_equal "127.0.0.1 $port yes" \
    "$(xml 'concat(//host/@name, " ", //host/@port, " ", //source/@tls)' main/vm1)"
"$BEDPLATE" volume xml main/vm1 --nbd "unix:$odd" --tls-hostname storage --luks |
    diff "$CLIENTS/../golden/libvirt-nbd.xml" -
refuse 1 'no name.*--tls-hostname' volume xml main/vm1 --nbd "unix:$socket"
expect_equal localhost \
    "$(xml //source/@tlsHostname main/vm1 --nbd "unix:$socket" --tls-hostname localhost)"
stop
start open --nbd 0.0.0.0:"$port" --store main=store.img
BEDPLATE_CONTROL=$PWD/open.control refuse 1 'no address to connect to.*--nbd' volume xml main/vm1
stop
for command in xml secret-xml; do
    "$BEDPLATE" volume $command --help | grep -q '^Example' || fail "$command has no example"
done
