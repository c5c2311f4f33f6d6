#!/usr/bin/env bash
# QEMU speaks TLS with the server, both ways, equal to the last byte.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
real_disk files.raw
truncate -s 64M disk.raw
serve_tls --tls-client-ca authority/ca-cert.pem --raw disk=disk.raw
tls=tls-creds-x509,id=tls,endpoint=client,dir=client
image=driver=nbd,export=disk,server.type=unix,server.path=$socket,tls-creds=tls
image=$image,tls-hostname=localhost
qemu-img convert -n --object "$tls" --target-image-opts files.raw "$image"
qemu-img compare --object "$tls" --image-opts driver=file,filename=files.raw "$image"
stop
cmp files.raw disk.raw
