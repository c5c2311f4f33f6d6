#!/usr/bin/env bash
# How shell tests complain, on this machine and in the virtual one. To be sourced, not run.
set -euo pipefail

# fail WORD... ends the test.
fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# expect_fail PATTERN COMMAND... runs a command that must fail and say something that matches.
expect_fail() {
    local pattern=$1 output
    shift
    if output=$("$@" 2>&1); then
        fail "this should not have worked: $*"
    fi
    grep -qiE -- "$pattern" <<<"$output" || fail "'$*' does not say '$pattern': $output"
}

# expect_equal WANTED FOUND
expect_equal() {
    [[ $1 == "$2" ]] || fail "wanted '$1', found '$2'"
}
