#!/bin/busybox sh
# The first process of the guest: makes the machine that a node expects, with cgroups of version 2 alone, plays the cases
# in it, tells the serial console how it went in lines that start with "guest:", and switches the machine off.
echo "guest: begins"
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin:/sbin HOME=/root OPENSSL_CONF=/etc/ssl/openssl.cnf

if [ "$1" != moved ]; then
    # The root of an initramfs can be neither left by pivot_root nor unmounted; that of a real machine can.
    mount -t tmpfs -o size=90% root /new
    for entry in /*; do
        [ "$entry" = /new ] || cp -a "$entry" /new/
    done
    exec switch_root /new /init moved
fi

mkdir -p /proc /sys /dev /tmp /run /root /var/lib /var/log
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The first cpuset and the last make the kernel patch itself, over which emulated processors that run meanwhile stumble:
# one is made while nothing else runs, and stays.
echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/kept
mount -t securityfs security /sys/kernel/security
mount -t tmpfs -o size=2g run /run
mount -t tmpfs tmp /tmp
# As systemd leaves it: what is mounted for a pod has to be seen in its containers.
mount --make-rshared /
for module in /modules/*.ko; do insmod "$module"; done
hostname guest
ip link set lo up
ulimit -n 65536
ulimit -l unlimited

echo "guest: kernel $(uname -r)"
echo "guest: lockdown $(cat /sys/kernel/security/lockdown)"
read -r before _ < /proc/uptime
# How far it has come is seen as it comes.
{ xtask $(cat /arguments) 2>&1 > /tmp/out < /dev/null; echo $? > /tmp/status; } |
    while read -r line || [ -n "$line" ]; do echo "guest: err $line"; done
status=$(cat /tmp/status)
read -r after _ < /proc/uptime
while read -r line || [ -n "$line" ]; do echo "guest: said $line"; done < /tmp/out
echo "guest: demo $before $after"
echo "guest: exit $status"
poweroff -f
