#!/usr/bin/env bash
# A client that trusts another authority turns away from the server, and the server does not mind.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
serve_tls --raw disk=mem:1M
cp stranger-authority/ca-cert.pem stranger/
image=driver=nbd,export=disk,server.type=unix,server.path=$socket,tls-creds=tls
expect_fail 'certificate|tls' qemu-img info --image-opts "$image,tls-hostname=localhost" \
    --object tls-creds-x509,id=tls,endpoint=client,dir=stranger
expect_equal 1048576 "$(nbdinfo --size "$(tls_uri disk client)")"
