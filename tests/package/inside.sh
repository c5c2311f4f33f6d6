#!/usr/bin/env bash
# What is looked for in a clean Debian that systemd has booted. Run there by tests/package/run.
set -euo pipefail
cd "$(dirname "$0")"
exec >log 2>&1
# shellcheck source=tests/clients/expect.sh
source expect.sh
set -o errtrace
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND"; journalctl -b -o cat -u bedplate | tail -n 20' ERR

config=/etc/bedplate/bedplate.toml
data=/var/lib/bedplate

# state WORD prints what systemd knows of the service.
state() {
    systemctl show -P "$1" bedplate.service
}

# wait_until COMMAND... waits until it succeeds.
wait_until() {
    for _ in {1..300}; do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    fail "it never came to this: $*"
}

# step WORD... says what comes.
step() {
    printf '%4d s  %s\n' "$SECONDS" "$*"
}

as_server() {
    runuser -u bedplate -- "$@"
}

installs() {
    step "it installs, and enables and starts nothing"
    dpkg --install bedplate.deb
    expect_equal disabled "$(systemctl is-enabled bedplate || true)"
    expect_equal inactive "$(state ActiveState)"
    expect_equal "bedplate:bedplate 700" "$(stat -c '%U:%G %a' $data)"
    expect_equal "" "$(systemd-analyze verify bedplate.service 2>&1)"
}

is_documented() {
    step "there are manual pages, and bash completes"
    local command
    man -w bedplate.toml >/dev/null
    man --locale=C.UTF-8 -P cat bedplate-store-create | grep -q '^EXAMPLES'
    for command in $(bedplate --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
        [[ $command == help ]] || man -w "bedplate-$command" >/dev/null
    done
    bash -c 'set -e
        source /usr/share/bash-completion/bash_completion
        _completion_loader bedplate || (($? == 124))
        COMP_WORDS=(bedplate volume cl) COMP_CWORD=2
        $(complete -p bedplate | sed "s/.*-F \([^ ]*\) .*/\1/") bedplate cl volume
        [[ ${COMPREPLY[*]} == clone ]]'
}

serves_nothing() {
    step "it starts as it was installed, and waits to be told"
    systemctl start bedplate
    expect_equal active "$(state ActiveState)"
    expect_equal "Listening at unix:/run/bedplate/nbd.sock" "$(state StatusText)"
    bedplate status
    expect_equal "[]" "$(nbdinfo --list --json 'nbd+unix:///?socket=/run/bedplate/nbd.sock' |
        sed -n '/"exports"/,$p' | tr -d ' \n' | sed 's/.*\(\[\]\).*/\1/')"
}

serves() {
    step "it serves a volume, once the config says so"
    local pid
    printf '[store.main]\nurl = "%s"\n' $data/main.img >>$config
    as_server bedplate store create $data/main.img --size 1G
    as_server bedplate serve --check --config $config
    systemctl restart bedplate
    head -c 64M /dev/urandom >disk
    bedplate volume import main/vm1 disk
    # Whoever is in the group, and nobody else.
    useradd --groups bedplate guest
    useradd stranger
    runuser -u guest -- nbdinfo --size "$(uri)"
    expect_fail 'denied' runuser -u stranger -- nbdinfo --size "$(uri)"
    expect_fail 'denied|root' runuser -u guest -- bedplate status \
        --control /run/bedplate/control.sock
    is_whole
    step "it is started again when it dies"
    pid=$(state MainPID)
    kill -KILL "$pid"
    wait_until is_another_than "$pid"
    is_whole
}

# is_another_than PID: a server is ready, and it is not this one. The order matters: what is asked
# first may have changed when the second is asked.
is_another_than() {
    [[ $(state MainPID) != "$1" && $(state SubState) == running ]]
}

uri() {
    echo 'nbd+unix:///main/vm1?socket=/run/bedplate/nbd.sock'
}

is_whole() {
    rm -f copy
    nbdcopy "$(uri)" copy
    cmp disk copy
}

says_what_is_wrong() {
    step "what is wrong with the config is said before a restart, and after"
    cp $config good.toml
    echo 'colour = "red"' >>$config
    expect_fail "bedplate.toml.*colour" as_server bedplate serve --check --config $config
    cp good.toml $config
    is_whole
}

upgrades() {
    step "another version is installed beside the server that runs"
    local pid
    pid=$(state MainPID)
    systemctl enable --quiet bedplate
    dpkg --install bedplate.deb | tee upgrade
    grep -q 'systemctl restart bedplate' upgrade
    expect_equal "$pid" "$(state MainPID)"
    expect_equal enabled "$(systemctl is-enabled bedplate)"
    systemctl restart bedplate
    is_whole
}

goes() {
    step "it goes, and leaves the disks"
    dpkg --purge bedplate | tee purge
    expect_equal inactive "$(systemctl is-active bedplate || true)"
    expect_equal "" "$(journalctl -b -o cat -u bedplate | grep -iE 'panic|not permitted' || true)"
    [[ -s $data/main.img && ! -e $config ]]
    expect_equal "" "$(find /etc/systemd -name '*bedplate*')"
}

installs
is_documented
serves_nothing
serves
says_what_is_wrong
upgrades
goes
echo "all is well"
