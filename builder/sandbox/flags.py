"""Numbers of the kernel's interface that plans mention: mounts, namespaces, personalities.

Apart from `syscalls`, because that needs ctypes and composing a plan does not. Sources: <linux/mount.h>,
<linux/sched.h>, <linux/personality.h>.
"""

from __future__ import annotations

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000

PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE = 0x8, 0x20000, 0x40000
