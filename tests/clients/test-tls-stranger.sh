#!/usr/bin/env bash
# A client whose certificate another authority signed is refused, and so is one that has none. The
# server serves on.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
mkdir nobody
cp authority/ca-cert.pem nobody/
serve_tls --tls-client-ca authority/ca-cert.pem --raw disk=mem:1M
expect_fail 'tls|certificate|closed|reset|disconnect' nbdinfo --size "$(tls_uri disk stranger)"
expect_fail 'tls|certificate|closed|reset|disconnect' nbdinfo --size "$(tls_uri disk nobody)"
image=driver=nbd,export=disk,server.type=unix,server.path=$socket,tls-creds=tls
expect_fail . qemu-img info --object tls-creds-x509,id=tls,endpoint=client,dir=stranger \
    --image-opts "$image,tls-hostname=localhost"
expect_equal 1048576 "$(nbdinfo --size "$(tls_uri disk client)")"
