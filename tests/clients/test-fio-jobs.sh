#!/usr/bin/env bash
# Every fio job of the repository runs against the server, each for a second.
set -euo pipefail
source "$CLIENTS/lib.sh"

serve --raw disk=mem:64M
for job in "$CLIENTS"/../../fio/*.fio; do
    sed 's/^runtime=.*/runtime=1/; /^ramp_time=/d' "$job" >job.fio
    URI=$(uri disk) fio --output-format=json --output=fio.json job.fio
    jq -e 'all(.jobs[]; .error == 0 and .read.total_ios + .write.total_ios > 0)' fio.json
done
