#!/usr/bin/env bash
# A server with a certificate requires TLS: a plain client learns nothing: no disk, no list.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
serve_tls --raw secret=mem:1M
expect_fail 'tls|policy|required' nbdinfo --size "$(uri secret)"
expect_fail . nbdinfo --list "nbd+unix:///?socket=$socket"
! nbdinfo --list "nbd+unix:///?socket=$socket" 2>&1 | grep -q 'export="secret"' ||
    fail "a plain client learned the name"
expect_fail 'tls' qemu-img info "$(uri secret)"
expect_equal 1048576 "$(nbdinfo --size "$(tls_uri secret client)")"
