#!/usr/bin/env bash
# Words that the command line does not know end it with status 2, help with status 0.
set -euo pipefail
source "$CLIENTS/lib.sh"

refuse 2 'no-such-word' serve --no-such-word
refuse 2 'no-such-command' no-such-command
refuse 2 'disk' serve --raw disk --nbd "unix:$socket"
refuse 2 'nonsense' serve --raw disk=mem:1M --nbd nonsense
"$BEDPLATE" --help >help.txt
"$BEDPLATE" serve --help >help.txt
grep -q -- --raw help.txt
"$BEDPLATE" --version | grep -q bedplate
