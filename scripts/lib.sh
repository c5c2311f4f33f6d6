#!/usr/bin/env bash
# What the scripts share: how they speak, what they demand of the machine, how they build. To be
# sourced, not run.
set -euo pipefail

# One form of numbers and messages, and the tools that a user's PATH leaves out.
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/sbin:/sbin:${HOME:-/root}/.cargo/bin

script=$(basename "$0")
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

# die WORD... ends the script with one line that says why.
die() {
    echo "$script: $*" >&2
    exit 1
}

# wrong_words WORD... ends the script because of what was typed.
wrong_words() {
    echo "$script: $*; see $script --help" >&2
    exit 2
}

# has COMMAND
has() {
    command -v "$1" >/dev/null
}

# need COMMAND=PACKAGE... installs the packages of the commands that are missing; without root it
# prints what to type, and ends.
need() {
    install_missing "$@"
    # Installing some may have removed others that had come from another release.
    [[ $* == no-command=* ]] || install_missing "$@"
}

install_missing() {
    local pair packages=() log
    hash -r
    for pair in "$@"; do
        has "${pair%%=*}" || [[ " ${packages[*]} " == *" ${pair#*=} "* ]] ||
            packages+=("${pair#*=}")
    done
    ((${#packages[@]} > 0)) || return 0
    local words=(apt-get install -y --no-install-recommends "${packages[@]}")
    has apt-get || die "missing: ${packages[*]}, as Debian calls them; install them, then try again"
    ((EUID == 0)) || die "missing packages; type: sudo apt-get update && sudo ${words[*]}"
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive "${words[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm "$log"
        die "could not install: ${packages[*]}"
    fi
    rm "$log"
}

# build_release builds the program, whose path is then in $bedplate.
# shellcheck disable=SC2034 # for the script that sources this
build_release() {
    local quiet=--quiet
    has cargo || die "cargo: not found; install the Rust toolchain from https://rustup.rs"
    [[ ! -t 2 ]] || quiet=
    (cd "$root" && cargo build --release --locked ${quiet:+"$quiet"}) >&2 ||
        die "the build failed; the lines above say why"
    bedplate=$(cd "$root" && realpath "${CARGO_TARGET_DIR:-target}/release/bedplate")
}

# milliseconds prints the time of the wall clock.
milliseconds() {
    echo $((${EPOCHREALTIME/./} / 1000))
}

# seconds_since MILLISECONDS prints how long ago that was, as 1.2.
seconds_since() {
    local took=$(($(milliseconds) - $1))
    printf '%d.%d' $((took / 1000)) $((took % 1000 / 100))
}

# lives FILE: whether the process lives whose number is in FILE. One that has ended and that nobody
# has waited for does not; one of which only other threads are left does, and keeps its sockets.
lives() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    [[ -n $pid ]] || return 1
    [[ -n $(grep -hsE '^State:\s+[^ZX]' /proc/"$pid"/task/*/status) ]]
}

# wait_for_end FILE SECONDS waits until the process has ended whose number is in FILE, kills it when
# that takes longer than so many seconds, and removes FILE.
wait_for_end() {
    local tries=$(($2 * 50))
    while lives "$1" && ((tries-- > 0)); do
        sleep 0.02
    done
    ! lives "$1" || kill -KILL "$(cat "$1")"
    rm -f "$1"
}
