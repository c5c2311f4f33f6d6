#!/usr/bin/env bash
# A store is encrypted again under a new master key, and packed again, while clients write to it and
# the server is killed; whoever kept the old key slots reads nothing any more.
set -euo pipefail
source "$CLIENTS/lib.sh"

# shown prints how far the renewal of the store is, or null.
shown() {
    "$BEDPLATE" store show main --json | jq -c .renewal
}

# Where both copies of the key slots are, in blocks of 4 KiB.
slots=(256 272)

head -c 32 /dev/urandom >first.key
head -c 32 /dev/urandom >other.key
head -c 32 /dev/urandom >wrong.key
real_disk disk.img
"$BEDPLATE" store create store.img --size 256M --segment-size 1M --key-file first.key
on=(--store main=store.img --key-file main=first.key)
first=(--key-file main=first.key)
serve "${on[@]}"
"$BEDPLATE" volume import main/vm1 disk.img --compress off >import.txt
"$BEDPLATE" volume create main/busy --size 32M
"$BEDPLATE" snapshot create main/vm1@before
for at in "${slots[@]}"; do
    dd if=store.img of="slots.$at" bs=4096 count=1 skip="$at" status=none
done

# Somebody writes all the time. Without its server this fio may complain without end, so it ends
# with it, however that ends: all of it, as its jobs are threads.
fio --thread --name=busy --ioengine=nbd --uri="$(uri main/busy)" --rw=randwrite --bs=4k \
    --iodepth=8 --size=32M --time_based --runtime=60 --rate_iops=500 >/dev/null 2>&1 &
fio=$!
trap '[[ -z $fio ]] || kill -KILL $fio || true; [[ -z $server_pid ]] || stop' EXIT
"$BEDPLATE" key add main "${first[@]}" --new-key-file other.key --label other
refuse 1 'main: these other keys would not open it any more: 1' key reencrypt main "${first[@]}"
refuse 1 'main: no key was named' key reencrypt main
refuse 1 'no key slot opens' key reencrypt main --key-file main=wrong.key
expect_equal null "$(shown)"
"$BEDPLATE" key reencrypt main "${first[@]}" --drop-others
expect_equal null "$(shown)"
expect_equal '["first"]' "$("$BEDPLATE" key list main --json | jq -c '[.keys[].label]')"

# What is begun and not waited for survives the server.
"$BEDPLATE" volume set main/vm1 compress=zstd
"$BEDPLATE" store repack main --detach
[[ $(shown) != null ]] || fail "nothing is under way"
kill -KILL "$server_pid"
kill -KILL "$fio"
wait "$server_pid" "$fio" || true
fio=
serve "${on[@]}"
for _ in {1..3000}; do
    [[ $(shown) != null ]] || break
    sleep 0.01
done
expect_equal null "$(shown)"
"$BEDPLATE" store collect main --passes 1 --json >collected.json
jq -e '.counted.compression_ratio > 1.5' collected.json >counted.txt || fail "$(cat collected.json)"
"$BEDPLATE" store repack main --detach
"$BEDPLATE" store repack main --stop
expect_equal null "$(shown)"
for export in main/vm1 main/vm1@before; do
    nbdcopy "$(uri $export)" out.img
    cmp disk.img out.img
done
stop

# Nobody serves it.
"$BEDPLATE" key reencrypt main "${on[@]}"
"$BEDPLATE" store repack main "${on[@]}"
"$BEDPLATE" store check store.img --data --key-file first.key >check.txt || fail "$(cat check.txt)"
cp store.img copy.img
for at in "${slots[@]}"; do
    dd if="slots.$at" of=copy.img bs=4096 count=1 seek="$at" conv=notrunc status=none
done
refuse 1 "does not bear the mark of the store's key" store info copy.img --key-file first.key
"$BEDPLATE" store create open.img --size 64M
refuse 1 'not encrypted' key reencrypt open --store open=open.img --key-file open=first.key
"$BEDPLATE" store repack open --store open=open.img
for command in 'key reencrypt' 'store repack'; do
    # shellcheck disable=SC2086
    "$BEDPLATE" $command --help | grep -q '^Example' || fail "$command has no example"
done
