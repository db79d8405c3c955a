#!/bin/busybox sh
# The testbed's PID 1. It runs one job in the host's root file system and reports its status.
# The virtio-console ports carry: p1 the job's standard output, p2 its standard error, p3 its exit status.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

for module in $(cat /modules/order); do
    insmod "/modules/$module" || echo "testbed: cannot load $module"
done

mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || echo "testbed: no host file system"
# The host's files once more, without what is mounted over them next.
mkdir /under
mount --bind /host /under
mount -t devtmpfs dev /host/dev
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t cgroup2 cgroup2 /host/sys/fs/cgroup
mount -t debugfs debugfs /host/sys/kernel/debug
mount -t tracefs tracefs /host/sys/kernel/tracing
mount -t tmpfs -o mode=1777 tmpfs /host/tmp
mount -t tmpfs -o mode=755 tmpfs /host/run
mkdir -p /host/dev/pts /host/dev/shm /host/run/lock
mount -t devpts -o mode=620,ptmxmode=666 devpts /host/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /host/dev/shm
ln -sf /proc/self/fd /host/dev/fd
ln -sf /proc/self/fd/0 /host/dev/stdin
ln -sf /proc/self/fd/1 /host/dev/stdout
ln -sf /proc/self/fd/2 /host/dev/stderr
ip link set lo up
echo always > /sys/kernel/mm/transparent_hugepage/enabled
echo 1 > /proc/sys/vm/overcommit_memory

job=$(sed -n 's/.*testbed\.job=\([^ ]*\).*/\1/p' /proc/cmdline)
# What the job needs of the host below the machine's own /tmp, /run and /dev/shm.
while IFS= read -r path; do
    mkdir -p "/host$path"
    mount --bind "/under$path" "/host$path" || echo "testbed: cannot show $path"
done < "/under$job.shown"
mkfifo /host/run/.stdout /host/run/.stderr
cat < /host/run/.stdout > /host/dev/vport0p1 &
relays=$!
cat < /host/run/.stderr > /host/dev/vport0p2 &
relays="$relays $!"
# The job's root is the root of a mount namespace of its own: who lives in a mere chroot may not make user namespaces.
unshare -m sh -c 'cd /host && mount --move . / && exec chroot . /bin/sh "$0"' "$job" \
    < /dev/null > /host/run/.stdout 2> /host/run/.stderr
status=$?
rm -f /host/run/.stdout /host/run/.stderr

# What the job left running may hold its streams open: it is ended, then the relays end by themselves. (A kernel
# thread has no program.)
for pid in /proc/[0-9]*; do
    pid=${pid#/proc/}
    case " 1 $relays " in
    *" $pid "*) ;;
    *) [ -e "/proc/$pid/exe" ] && kill -9 "$pid" ;;
    esac
done
wait
sync
echo "$status" > /host/dev/vport0p3
# One byte to the exit device ends QEMU at once; where there is none, so does a reboot.
printf '\001' | dd of=/host/dev/port bs=1 seek=1281 conv=notrunc 2> /dev/null
reboot -f
