#!/usr/bin/env bash
# A server with nothing to serve, or nowhere to listen, or two disks of one name, says so.
set -euo pipefail
source "$CLIENTS/lib.sh"

refuse 1 'export' serve --nbd "unix:$socket"
refuse 1 'listen' serve --raw disk=mem:1M
refuse 1 'two exports' serve --raw disk=mem:1M --raw disk=mem:2M --nbd "unix:$socket"
refuse 1 'nobody' serve --raw disk=mem:1M --read-only nobody --nbd "unix:$socket"
