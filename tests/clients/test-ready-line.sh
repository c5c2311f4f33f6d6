#!/usr/bin/env bash
# The ready line names every export at every address, and clients can use its words as they are.
set -euo pipefail
source "$CLIENTS/lib.sh"

port=$((20000 + $$ % 20000))
serve --nbd "127.0.0.1:$port" --raw one=mem:1M --raw two=mem:2M
expect_equal 1 "$(wc -l <server.out)"
read -ra uris < <(sed 's/^ready: //' server.out)
expect_equal 4 ${#uris[@]}
for uri in "${uris[@]}"; do
    size=$(nbdinfo --size "$uri")
    [[ $uri == */one* ]] && expect_equal 1048576 "$size"
    [[ $uri == */two* ]] && expect_equal 2097152 "$size"
    qemu-img info "$uri" >info.txt
done
