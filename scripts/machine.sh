#!/usr/bin/env bash
# What virtual machines for tests are made of: Debian's kernel for them, this machine's programs,
# and QEMU without KVM, so that no image and no root are needed. To be sourced, not run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Where kernels are kept from one run to the next.
vm=$(cd "$root" && realpath -m "${CARGO_TARGET_DIR:-target}/vm")

# The words of the kernel that hold for all of them. Without no_timer_check the kernel of a machine
# that is slow for a moment panics.
# shellcheck disable=SC2034 # for the script that sources this
kernel_words=(console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable
    nowatchdog rcupdate.rcu_cpu_stall_suppress=1 random.trust_cpu=on)

# The words of QEMU that do: the console is its standard input and output. Its processors take
# turns: side by side, one may run code while another patches it, and the kernel panics. They do not
# claim that string instructions are fast, since QEMU takes those byte by byte: libc and Linux would
# copy with them, 4 KiB in 20 us instead of 0.6.
# shellcheck disable=SC2034 # for the script that sources this
machine_words=(-accel "tcg,thread=single,tb-size=512" -machine q35
    -cpu max,erms=off,fsrm=off -nodefaults -no-user-config -display none -no-reboot
    -serial stdio)

# choose_kernel [FOLDER] takes the kernel in the folder, or else the newest of this Debian; of any
# Debian, if the folder is called 'newest'.
choose_kernel() {
    case ${1:-} in
        '') fetch_kernel ;;
        newest) fetch_newest_kernel ;;
        *) use_kernel "$1" ;;
    esac
}

# fetch_kernel fetches and unpacks the newest kernel that this Debian has for virtual machines, in
# the folder $kernel, once; which it is, is in $version, and what to boot in $vmlinuz.
fetch_kernel() {
    local package folder
    package=$(apt-cache search --names-only '^linux-image-[0-9.]+\+deb[0-9]+-cloud-amd64$' |
        cut -d' ' -f1 | sort -V | tail -n 1)
    if [[ -z $package ]]; then
        # What was fetched before is as good; without either there is nothing to say.
        for folder in "$vm"/linux-image-*-cloud-amd64; do
            [[ ! -d $folder ]] || package=$(basename "$folder")
        done
        [[ -n $package ]] || die "apt knows no linux-image-*-cloud-amd64; type: apt-get update"
    fi
    kernel=$vm/$package
    version=${package#linux-image-}
    unpack_kernel "$package"
    use_kernel "$kernel"
}

# use_kernel FOLDER takes another one instead: packages of Debian, unpacked into one folder with
# dpkg -x.
use_kernel() {
    local paths
    kernel=$(realpath "$1")
    [[ -e $kernel/lib ]] || ln -s usr/lib "$kernel/lib"
    paths=("$kernel"/lib/modules/*)
    [[ ${#paths[@]} == 1 && -d ${paths[0]} ]] || die "$1: not the folder of one kernel"
    version=$(basename "${paths[0]}")
    vmlinuz=$kernel/boot/vmlinuz-$version
    # Where it is from Linux 7 on.
    [[ -e $vmlinuz ]] || vmlinuz=$kernel/lib/modules/$version/vmlinuz
    [[ -e $vmlinuz ]] || die "$1: no vmlinuz in it"
    [[ -e $kernel/lib/modules/$version/modules.dep ]] || depmod -b "$kernel" "$version"
}

# unpack_kernel PACKAGE... fetches the packages of the kernel $version from the suite that is open,
# and unpacks them into the folder $kernel, unless that is there.
unpack_kernel() {
    mkdir -p "$vm"
    # One at a time, when several scripts want it at once.
    (
        flock 8
        [[ ! -d $kernel ]] || exit 0
        rm -rf "$kernel.new"
        mkdir "$kernel.new"
        download "$kernel.new" "$@"
        for deb in "$kernel.new"/*.deb; do
            dpkg -x "$deb" "$kernel.new"
            rm "$deb"
        done
        [[ -e $kernel.new/lib ]] || ln -s usr/lib "$kernel.new/lib"
        depmod -b "$kernel.new" "$version"
        mv "$kernel.new" "$kernel"
    ) 8>"$vm/fetch.lock"
}

# fetch_newest_kernel is the same with the newest that any Debian has, from the backports of the one
# after this.
fetch_newest_kernel() {
    local package packages part
    open_suite trixie-backports
    package=$(apt-cache "${suite_words[@]}" depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
    version=${package#linux-image-}
    kernel=$vm/newest-$version
    packages=("$package")
    # Where its parts are from Linux 7 on.
    for part in base binary modules; do
        ! apt-cache "${suite_words[@]}" show "linux-$part-$version" >/dev/null 2>&1 ||
            packages+=("linux-$part-$version")
    done
    unpack_kernel "${packages[@]}"
    close_suite
    use_kernel "$kernel"
}

# fetch_package SUITE PACKAGE FOLDER fetches a package of another suite of Debian into the folder.
fetch_package() {
    open_suite "$1"
    download "$3" "$2"
    close_suite
}

# How apt is asked of the suite that is open: at first this machine's own.
own_words=(-q -o APT::Sandbox::User=root)
suite_words=("${own_words[@]}")

# open_suite SUITE has apt look at another suite of Debian, with the words in $suite_words: with
# lists of packages of its own, so a machine without that suite stays one.
open_suite() {
    local lists mirror
    lists=$(mktemp -d)
    mkdir -p "$lists"/{lists/partial,archives/partial,sources,preferences}
    mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    printf '%s\n' 'Types: deb' "URIs: ${mirror:-http://deb.debian.org/debian}" \
        "Suites: $1" 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >"$lists/sources/one.sources"
    suite_lists=$lists
    suite_words=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$lists/sources"
        -o "Dir::Etc::preferencesparts=$lists/preferences" -o "Dir::State::lists=$lists/lists"
        -o "Dir::Cache=$lists" -o APT::Sandbox::User=root -qq)
    apt-get "${suite_words[@]}" update >&2 || die "could not fetch the list of packages of $1"
}

# download FOLDER PACKAGE... fetches packages of the suite that is open.
download() {
    (cd "$1" && apt-get "${suite_words[@]}" download "${@:2}") >&2 ||
        die "could not fetch ${*:2}; type: apt-get update"
}

close_suite() {
    rm -rf "$suite_lists"
    suite_words=("${own_words[@]}")
}

# begin_tree FOLDER makes the folder of what is to be in a machine, $tree, with the folders that all
# have, and busybox.
begin_tree() {
    local part name
    tree=$1
    rm -rf "$tree"
    mkdir -p "$tree"/{usr/{bin,sbin,lib,lib64},dev,proc,sys,run,tmp,etc,mnt}
    for part in bin sbin lib lib64; do
        ln -s "usr/$part" "$tree/$part"
    done
    put "$(command -v busybox)" /usr/bin/busybox
    for name in $(busybox --list); do
        [[ -e $tree/usr/bin/$name ]] || ln -s busybox "$tree/usr/bin/$name"
    done
    echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
}

# put_all SERVER PROGRAM... copies the server, as bedplate, and programs of this machine, with what
# they need.
put_all() {
    local name path
    for name in "${@:2}"; do
        path=$(command -v "$name") || die "$name: not found; scripts/test tools installs it"
        put_program "$path" "$path"
    done
    # Found when a thread ends, not when a program is linked.
    for path in /lib/x86_64-linux-gnu/libgcc_s.so.1; do
        [[ ! -e $path ]] || put "$path"
    done
    # Without what only a debugger reads: in memory it is too much.
    objcopy --strip-debug "$1" "$vm/bedplate"
    put_program "$vm/bedplate" /usr/bin/bedplate
    put "$root/scripts/vm/mounts.sh" /mounts.sh
}

# put SOURCE [TARGET] copies a file into the machine, whatever links lead to it.
put() {
    local to=$tree${2:-$1}
    [[ -e $to ]] || { mkdir -p "$(dirname "$to")" && cp -L "$1" "$to"; }
}

# put_program SOURCE TARGET copies a program and the libraries that it is linked with.
put_program() {
    local name path
    # The real one, where busybox has one as well.
    rm -f "$tree/usr/bin/$(basename "$2")"
    put "$1" "$2"
    # A library is 'NAME => PATH (ADDRESS)', or 'PATH (ADDRESS)' for the loader.
    while read -r name path; do
        put "$path" "$path"
    done < <(ldd "$1" 2>/dev/null | awk '$2 == "=>" && $3 ~ "^/" { print $1, $3 }
        $1 ~ "^/" { print $1, $1 }')
}

# put_modules NAME... copies modules of the kernel, and those that they need.
put_modules() {
    local name path to
    for name in "$@"; do
        modprobe -d "$kernel" -S "$version" --show-depends "$name"
    done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r path; do
        to=$tree/usr/lib/modules/${path#"$kernel"/lib/modules/}
        mkdir -p "$(dirname "$to")"
        # Unpacked here, where that is quick.
        case $path in
            *.xz) xz -dc "$path" >"${to%.xz}" ;;
            *.zst) zstd -qdc "$path" >"${to%.zst}" ;;
            *) cp "$path" "$to" ;;
        esac
    done
    cp "$kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} \
        "$tree/usr/lib/modules/$version/"
    depmod -b "$tree" "$version"
}

# pack_tree FILE makes an initramfs of what is in the tree.
pack_tree() {
    (cd "$tree" && find . -print0 | cpio --null --create --format=newc --quiet) >"$1"
}
