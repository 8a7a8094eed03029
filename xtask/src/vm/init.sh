#!/bin/busybox sh
# The first process of the guest: makes the system that the demo expects, runs it, tells the serial console how it went
# in lines that start with "guest:", and switches the machine off. What a line may say is read in guest.rs.
echo "guest: begins"
/bin/busybox --install -s /bin
export PATH=/bin HOME=/

if [ "$1" != moved ]; then
    # The root of an initramfs can be neither left by pivot_root nor unmounted; that of a real machine can.
    mount -t tmpfs root /new
    cp -a /bin /init /new
    exec switch_root /new /init moved
fi

mkdir -p /proc /sys /dev /tmp /run /etc
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
mount -t tmpfs tmp /tmp
ip link set lo up
# Until Linux 5.11 maps and programs count as locked memory.
ulimit -l unlimited

echo "guest: kernel $(uname -r)"
echo "guest: lockdown $(cat /sys/kernel/security/lockdown)"
read -r before _ < /proc/uptime
signal-trace demo --json > /tmp/out 2> /tmp/err < /dev/null
status=$?
read -r after _ < /proc/uptime
while read -r line || [ -n "$line" ]; do echo "guest: out $line"; done < /tmp/out
while read -r line || [ -n "$line" ]; do echo "guest: err $line"; done < /tmp/err
echo "guest: demo $before $after"
echo "guest: exit $status"
poweroff -f
