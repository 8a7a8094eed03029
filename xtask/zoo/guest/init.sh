#!/bin/busybox sh
# The first process of the guest, until its Debian system is there: mounts that from the first disk, lays over it what this
# run brings, and lets its own systemd go on, with the zoo as the one thing to do.
echo "guest: begins"
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
insmod /overlay.ko

# A kernel names the disks as it finds them; which is which, only their own numbers say.
disk() {
    for block in /sys/block/nvme0n*; do
        [ "$(cat "$block/nsid")" = "$1" ] && [ -b "/dev/${block##*/}" ] && echo "/dev/${block##*/}"
    done
}
tries=600
until [ -n "$(disk 1)" ] && [ -n "$(disk 2)" ] || [ "$tries" = 0 ]; do
    usleep 50000
    tries=$((tries - 1))
done 2> /dev/null
mount -t ext4 "$(disk 1)" /new || { dmesg; poweroff -f; }
tar -xf /payload.tar -C /new
disk 2 > /new/zoo-disk
umount /proc /sys
exec switch_root /new /lib/systemd/systemd --unit=zoo.service
