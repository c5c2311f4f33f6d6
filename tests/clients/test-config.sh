#!/usr/bin/env bash
# The config file says the same as the command line, which may add to it; a mistake in it is one
# line that names the file and the key.
set -euo pipefail
source "$CLIENTS/lib.sh"

cat >good.toml <<TOML
threads = 1
nbd = ["unix:$socket"]
[raw.one]
url = "mem:1M"
description = "the first"
[raw.two]
url = "mem:2M"
read_only = true
[store.main]
url = "store.img"
leaf_cache = "64M"
block_cache = "16M"
TOML
"$BEDPLATE" store create store.img --size 256M
"$BEDPLATE" volume create main/vm1 --size 4M --store main=store.img
"$BEDPLATE" snapshot create main/vm1@old --store main=store.img
start server --config good.toml --raw three=mem:3M
nbdinfo --list --json "nbd+unix:///?socket=$socket" >list.json
jq -r '.exports[] | [."export-name", ."export-size", .is_read_only, .description] | @csv' \
    list.json | sort >list.csv
expect_equal '"main/vm1",4194304,false,"volume of store main"
"main/vm1@old",4194304,true,"snapshot of store main"
"one",1048576,false,"the first"
"three",3145728,false,"raw mem:3M"
"two",2097152,true,"raw mem:2M"' "$(cat list.csv)"
stop

try() {
    printf '%b' "$2" >bad.toml
    refuse 1 "bad\.toml.*$1" serve --config bad.toml
}
try 'colour' 'colour = "red"\n'
try 'threads' 'threads = 0\n[raw.a]\nurl = "mem:1M"\n'
try 'threads' 'threads = "many"\n'
try 'size|raw\.a' '[raw.a]\nurl = "mem:1M"\nsize = 5\n'
try 'store\.a\.leaf_cache' '[store.a]\nurl = "store.img"\nleaf_cache = "1K"\n'
try 'store\.a\.block_cache' '[store.a]\nurl = "store.img"\nblock_cache = "lots"\n'
try 'store\.a\.url' '[store.a]\nurl = "gopher:/x"\n'
try 'cache|store\.a' '[store.a]\nurl = "store.img"\ncache = 5\n'
try 'qos\.a\.iops' '[raw.a]\nurl = "mem:1M"\n[qos.a]\niops = 0\n'
try 'qos\.a\.burst_iops.*less than iops' '[qos.a]\niops = 9\nburst_iops = 8\nburst_seconds = 1\n'
try 'qos\.a\.burst_iops.*burst_seconds' '[qos.a]\niops = 9\nburst_iops = 10\n'
try 'qos\.a\.bps.*10\^15' '[qos.a]\nbps = "1P"\n'
try 'qos\.a\.group.*\[group\.b\]' '[qos.a]\ngroup = "b"\n'
try 'iosp' '[group.a]\niosp = 9\n'
try 'gopher' 'nbd = ["unix:x"]\n[raw.a]\nurl = "gopher:/x"\n'
try 'nonsense' 'nbd = ["nonsense"]\n[raw.a]\nurl = "mem:1M"\n'
try '' 'this is no TOML'
refuse 1 'missing\.toml' serve --config missing.toml

# --check says the same without serving, and opens nothing: a server may have it.
start server --config good.toml
expect_equal "the settings are good" "$("$BEDPLATE" serve --config good.toml --check)"
refuse 1 'bad\.toml.*this' serve --config bad.toml --check
refuse 1 'key\.pem' serve --config good.toml --check --tls-certificate cert.pem --tls-key key.pem
refuse 1 'no-such-key' serve --config good.toml --check --key-file main=no-such-key
stop

# Where the config says how it is controlled, there need not be anything to serve yet.
printf 'nbd = ["unix:%s"]\ncontrol = "%s"\n' "$socket" "$PWD/server.control" >empty.toml
start server --config empty.toml
expect_equal 0 "$(nbdinfo --list --json "nbd+unix:///?socket=$socket" | jq '.exports | length')"
"$BEDPLATE" store open main=store.img
nbdinfo --size "$(uri main/vm1)"
stop
