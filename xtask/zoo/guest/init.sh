#!/bin/busybox sh
# The first process of the guest, until its Debian system is there: mounts that from the first disk, lays over it what this
# run brings, and lets its own systemd go on, with the zoo as the one thing to do.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
insmod /overlay.ko
tries=600
until [ -b /dev/nvme0n1 ] || [ "$tries" = 0 ]; do
    usleep 50000
    tries=$((tries - 1))
done
mount -t ext4 /dev/nvme0n1 /new || { dmesg; poweroff -f; }
tar -xf /payload.tar -C /new
umount /proc
exec switch_root /new /lib/systemd/systemd --unit=zoo.service
