"""A long text that is put together from many small pieces: one growing block of bytes, no string for each piece.

What `toJSON` and `toXML` write goes here, and what `derivation` does.
"""

import cython

if cython.compiled:
    from cython.cimports.cpython.conversion import PyOS_double_to_string
    from cython.cimports.cpython.mem import PyMem_Free
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.evaluator.core.ascii import is_ascii
    from cython.cimports.libc.stdlib import free, realloc
    from cython.cimports.libc.string import memcpy, memset


#: What `letters` have for a byte that is written as a number.
AS_NUMBER = 1
_HEX_DIGITS = b"0123456789abcdef"
_hex_digit = _HEX_DIGITS


@cython.final
@cython.cclass
class TextBuffer:
    """The bytes so far are the first `used` of `data`."""

    def __init__(self):
        self.used = self.room = 0
        if cython.compiled:
            self.data = cython.NULL
        else:
            self.data = bytearray()

    def __dealloc__(self):
        if cython.compiled:
            free(self.data)

    def reserve(self, more):
        """Make room for so many more bytes."""
        data: cython.p_char
        if self.used + more > self.room:
            self.room = 2 * self.room + more + 256
            data = cython.cast(cython.p_char, realloc(self.data, self.room))
            if data == cython.NULL:
                raise MemoryError
            self.data = data
        return 0

    def put(self, text):
        """Append a string; what was no UTF-8 goes back to its bytes."""
        raw: bytes
        n: cython.Py_ssize_t
        if cython.compiled:
            if is_ascii(text):
                n = len(text)
                if self.used + n > self.room:
                    self.reserve(n)
                memcpy(self.data + self.used, PyUnicode_1BYTE_DATA(text), n)
                self.used += n
                return 0
            raw = text.encode("utf-8", "surrogateescape")
            n = len(raw)
            self.reserve(n)
            memcpy(self.data + self.used, cython.cast(cython.p_char, raw), n)
        else:
            raw = text.encode("utf-8", "surrogateescape")
            n = len(raw)
            self.data += raw
        self.used += n
        return 0

    def put_byte(self, byte):
        """Append one byte."""
        if cython.compiled:
            if self.used == self.room:
                self.reserve(1)
            self.data[self.used] = byte
        else:
            self.data.append(byte)
        self.used += 1
        return 0

    def put_blanks(self, n):
        """Append so many blanks."""
        if cython.compiled:
            if self.used + n > self.room:
                self.reserve(n)
            memset(self.data + self.used, 32, n)
        else:
            self.data += b" " * n
        self.used += n
        return 0

    def put_bytes(self, source, n):
        """Append `n` bytes from `source`, a pointer (uncompiled: bytes)."""
        if cython.compiled:
            if self.used + n > self.room:
                self.reserve(n)
            memcpy(self.data + self.used, source, n)
        else:
            self.data += source[:n]
        self.used += n
        return 0

    def put_quoted(self, text, letters):
        """Append a text in quotes; what was no UTF-8 goes back to its bytes. `letters` as `put_literal` has them."""
        raw: bytes
        if cython.compiled and is_ascii(text):
            return self.put_literal(PyUnicode_1BYTE_DATA(text), len(text), letters)
        raw = text.encode("utf-8", "surrogateescape")
        return self.put_literal(raw, len(raw), letters)

    def put_literal(self, source, n, letters):
        """Append the `n` bytes from `source`, a pointer (uncompiled: bytes), in quotes.

        `letters` has for every byte 0, the letter that is behind its backslash, or AS_NUMBER: `\\u00` and two digits.
        """
        i: cython.Py_ssize_t
        done: cython.Py_ssize_t = 0
        letter: cython.int
        self.put_byte(34)
        for i in range(n):
            letter = letters[source[i]]
            if letter:
                self.put_bytes(source + done if cython.compiled else source[done:], i - done)
                done = i + 1
                self.put_byte(92)
                if letter != AS_NUMBER:
                    self.put_byte(letter)
                else:
                    self.put("u00")
                    self.put_byte(_hex_digit[source[i] >> 4])
                    self.put_byte(_hex_digit[source[i] & 15])
        self.put_bytes(source + done if cython.compiled else source[done:], n - done)
        return self.put_byte(34)

    def put_int(self, number):
        """Append an integer of 64 bits in decimal."""
        rest: cython.ulonglong
        more: cython.ulonglong
        at: cython.Py_ssize_t
        if not cython.compiled:
            return self.put(str(number))
        if self.used + 24 > self.room:
            self.reserve(24)
        rest = cython.cast(cython.ulonglong, number)
        if number < 0:
            self.data[self.used] = 45
            self.used += 1
            rest = 0 - rest
        more = rest
        while more >= 10:
            self.used += 1
            more //= 10
        self.used += 1
        at = self.used
        while True:
            at -= 1
            self.data[at] = cython.cast(cython.char, 48 + rest % 10)
            rest //= 10
            if rest == 0:
                return 0

    def put_float(self, number):
        """Append a float as a C++ stream prints it: six significant digits."""
        text: cython.p_char
        n: cython.Py_ssize_t = 0
        if not cython.compiled:
            return self.put(f"{number:g}")
        text = PyOS_double_to_string(number, 103, 6, 0, cython.NULL)  # 'g'
        if text == cython.NULL:
            raise MemoryError
        while text[n]:
            n += 1
        try:
            return self.put_bytes(text, n)
        finally:
            PyMem_Free(text)

    def content(self):
        """Return everything as bytes."""
        if cython.compiled:
            return self.data[: self.used]
        return bytes(self.data)

    def text(self):
        """Return everything as one string."""
        if cython.compiled:
            if self.used == 0:
                return ""
            return self.data[: self.used].decode("utf-8", "surrogateescape")
        return self.data.decode("utf-8", "surrogateescape")
