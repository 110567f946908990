"""SHA-256 without a library: loading OpenSSL takes 3 ms, which is as long as evaluating a small file.

`sha256(data)` is what `hashlib.sha256(data)` is, as far as evaluations need it: `update`, `digest`, `hexdigest`.
Where the processor has no instructions for it, and in plain Python, it is OpenSSL's.
"""

import cython

if cython.compiled:
    from cython.cimports.evaluator.core.sha256_blocks import (
        verglas_sha256_add,
        verglas_sha256_begin,
        verglas_sha256_digest,
        verglas_sha256_works,
    )


@cython.final
@cython.cclass
class Sha256:
    """A hash that more can be added to; compiled code only."""

    def __init__(self, data=b""):
        if cython.compiled:
            verglas_sha256_begin(cython.address(self.state))
            verglas_sha256_add(cython.address(self.state), data)

    def update(self, data):
        """Add a bytes-like object."""
        if cython.compiled:
            verglas_sha256_add(cython.address(self.state), data)

    def digest(self):
        """Return the 32 bytes."""
        if cython.compiled:
            return verglas_sha256_digest(cython.address(self.state))

    def hexdigest(self):
        """Return the digest in hexadecimal."""
        return self.digest().hex()


if cython.compiled and verglas_sha256_works():
    sha256 = Sha256
else:
    from _hashlib import openssl_sha256

    sha256 = openssl_sha256
