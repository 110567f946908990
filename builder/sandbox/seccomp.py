"""The system call filter of builds, as a BPF program: no setuid files, no extended attributes, no way around it.

A pure function from a machine's name to bytes; the child installs them. What it forbids:

- giving a file the setuid or setgid bit, with chmod and its relatives or at creation. Between the end of a build and
  its registration such a file would exist on the host, owned by the build's user. (EPERM)
- setting extended attributes and POSIX ACLs, which a store can't hold. (ENOTSUP)
- sockets of the family AF_VSOCK: a network namespace does not contain them, and in a virtual machine they lead to its
  host. (EAFNOSUPPORT) On i386 the old call socketcall hides the family: it makes sockets of every kind or, where
  the build is not for i686-linux, none at all. (ENOSYS)
- openat2 and io_uring, whose arguments a filter can't see and which could do all of the above. (ENOSYS, so that
  programs use the older calls)

Sources: seccomp(2), <linux/filter.h>, <linux/audit.h>, the kernel's syscall tables. Nix 2.8 forbids the first half of
the first point and the second.
"""

from __future__ import annotations

import struct

_EPERM, _ENOSYS, _ENOTSUP, _EAFNOSUPPORT = 1, 38, 95, 97
_AF_VSOCK = 40
_SETUID_BITS = 0o6000
_CREATES = 0o100 | 0o20000000  # O_CREAT, or the bit that O_TMPFILE has of its own

# Opcodes: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JSET|BPF_K, BPF_ALU|BPF_AND|BPF_K, BPF_RET|BPF_K.
_LOAD, _EQUAL, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16
_X32_BIT = 0x40000000

# Per architecture: (call, index of its mode argument), (call, index of its flags), and plain refusals.
_SAME_EVERYWHERE = {452: 2}  # fchmodat2
_REFUSED_EVERYWHERE = {437: _ENOSYS, 425: _ENOSYS, 463: _ENOTSUP}  # openat2, io_uring_setup, setxattrat
_AUDIT_X86_64, _AUDIT_I386, _AUDIT_AARCH64, _AUDIT_ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
_MODES = {
    _AUDIT_X86_64: {90: 1, 91: 1, 268: 2, 85: 1, 133: 1, 259: 2},
    _AUDIT_I386: {15: 1, 94: 1, 306: 2, 8: 1, 14: 1, 297: 2},
    _AUDIT_AARCH64: {52: 1, 53: 2, 33: 2},
    _AUDIT_ARM: {15: 1, 94: 1, 333: 2, 8: 1, 14: 1, 324: 2},
}
_OPENS = {
    _AUDIT_X86_64: {2: 1, 257: 2},
    _AUDIT_I386: {5: 1, 295: 2},
    _AUDIT_AARCH64: {56: 2},
    _AUDIT_ARM: {5: 1, 322: 2},
}
_XATTRS = {
    _AUDIT_X86_64: (188, 189, 190),
    _AUDIT_I386: (226, 227, 228),
    _AUDIT_AARCH64: (5, 6, 7),
    _AUDIT_ARM: (226, 227, 228),
}
_SOCKETS = {_AUDIT_X86_64: 41, _AUDIT_I386: 359, _AUDIT_AARCH64: 198, _AUDIT_ARM: 281}
_SOCKETCALL, _SYS_SOCKET = 102, 1  # on i386
_OF_MACHINE = {
    "x86_64": (_AUDIT_X86_64, _AUDIT_I386),
    "i686": (_AUDIT_I386,),
    "aarch64": (_AUDIT_AARCH64, _AUDIT_ARM),
    "armv7l": (_AUDIT_ARM,),
}


def build_filter(machine: str, *, socketcall: bool) -> bytes:
    """Return the filter for a kernel of this machine (`uname -m`), b'' for one whose calls are not tabled here.

    Args:
        machine: as above.
        socketcall: whether programs for i386 may make sockets by their old call, whose family no filter can see.
    """
    architectures = _OF_MACHINE.get(machine)
    if architectures is None:
        return b""
    program = [_instruction(_LOAD, _OFFSET_ARCH)]
    for architecture in architectures:
        block = _block(architecture, socketcall=socketcall)
        # A conditional jump reaches 255 instructions; a block has about 70.
        program += [_instruction(_EQUAL, architecture, 0, len(block)), *block]
    # An architecture that this kernel can run but that is not tabled: none exists for the machines above.
    program.append(_instruction(_RETURN, _ERRNO | _ENOSYS))
    return b"".join(program)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _argument(index: int) -> bytes:
    return _instruction(_LOAD, _OFFSET_ARGS + 8 * index)


def _block(architecture: int, *, socketcall: bool) -> list[bytes]:
    allow = _instruction(_RETURN, _ALLOW)
    refuse = _instruction(_RETURN, _ERRNO | _EPERM)
    block = [_instruction(_LOAD, _OFFSET_NUMBER)]
    if architecture == _AUDIT_X86_64:
        block.append(_instruction(_AND, ~_X32_BIT & 0xFFFFFFFF))  # x32 calls are the same ones with this bit
    for number, index in {**_MODES[architecture], **_SAME_EVERYWHERE}.items():
        block += [
            _instruction(_EQUAL, number, 0, 4),
            _argument(index),
            _instruction(_ANY_BIT, _SETUID_BITS, 0, 1),
            refuse,
            allow,
        ]
    for number, index in _OPENS[architecture].items():
        block += [
            _instruction(_EQUAL, number, 0, 6),
            _argument(index),
            _instruction(_ANY_BIT, _CREATES, 0, 3),
            _argument(index + 1),
            _instruction(_ANY_BIT, _SETUID_BITS, 0, 1),
            refuse,
            allow,
        ]
    refused_families = [(_SOCKETS[architecture], _AF_VSOCK, _EAFNOSUPPORT)]
    if architecture == _AUDIT_I386 and not socketcall:
        refused_families.append((_SOCKETCALL, _SYS_SOCKET, _ENOSYS))
    for number, first, code in refused_families:
        block += [
            _instruction(_EQUAL, number, 0, 4),
            _argument(0),
            _instruction(_EQUAL, first, 0, 1),
            _instruction(_RETURN, _ERRNO | code),
            allow,
        ]
    for number, code in {**dict.fromkeys(_XATTRS[architecture], _ENOTSUP), **_REFUSED_EVERYWHERE}.items():
        block += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ERRNO | code)]
    block.append(allow)
    return block
