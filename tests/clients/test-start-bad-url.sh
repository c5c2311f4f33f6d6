#!/usr/bin/env bash
# A disk that cannot be opened stops the server before it listens, with one line that names it. A
# URL that could never be one is a wrong word.
set -euo pipefail
source "$CLIENTS/lib.sh"

try() {
    refuse "$1" "$2" serve --raw "disk=$3" --nbd "unix:$socket"
    [[ ! -e $socket ]] || fail "it listened before it looked"
}
mkdir folder
mkfifo pipe
echo text >file
try 1 'missing\.raw' file:missing.raw
try 1 'folder.*directory' file:folder
try 1 'file/inside' file/inside
try 1 'pipe' pipe
try 2 'gopher' gopher:/x
try 2 'mem:12Q' mem:12Q
try 2 'null:' null:
refuse 1 'missing\.raw' serve --raw one=mem:1M --raw two=missing.raw --nbd "unix:$socket"
