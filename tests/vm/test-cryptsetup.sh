#!/usr/bin/env bash
# A disk that raw format has encrypted is opened by the kernel, and what the kernel writes there the
# server decrypts; over NBD, so that both see the same file in turn.
set -euo pipefail
source /tests/lib.sh
modprobe nbd max_part=0
modprobe dm-crypt
modprobe xts
modprobe loop
printf 'correct horse battery staple' >words
# Without hardware that hashes, the usual million takes a minute each time.
said bedplate raw format disk.luks --size 128M --passphrase-file words --iterations 1000
serve --raw disk=disk.luks --passphrase-file disk=words
said nbd-client -unix "$socket" /dev/nbd0 -N disk -b 4096
said mkfs.ext4 -q -F /dev/nbd0
mount /dev/nbd0 /mnt
cp /usr/bin/bash /mnt/
umount /mnt
nbd-client -d /dev/nbd0
stop
said cryptsetup open --type luks --key-file words "$PWD/disk.luks" plain
said e2fsck -fn /dev/mapper/plain
mount /dev/mapper/plain /mnt
cmp /usr/bin/bash /mnt/bash
cp /usr/bin/fio /mnt/
umount /mnt
cryptsetup close plain
serve --raw disk=disk.luks --passphrase-file disk=words
said nbd-client -unix "$socket" /dev/nbd0 -N disk -b 4096
said e2fsck -fn /dev/nbd0
mount /dev/nbd0 /mnt
cmp /usr/bin/bash /mnt/bash
cmp /usr/bin/fio /mnt/fio
umount /mnt
nbd-client -d /dev/nbd0
stop
