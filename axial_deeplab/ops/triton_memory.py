"""Device functions that the attention kernels share: tuples of vectors in registers, read and written in wide pieces.

A kernel keeps a vector of `N` channels as a tuple of `N` float32 tensors whose elements are (line, head) pairs, one for each
lane. Channels lie next to each other in memory, so a lane can fetch several at once; Triton has no way to say that, hence the
few lines of PTX. With `WORDS = 0` the same functions use plain loads and stores: for the interpreter, and for channels that
are not aligned.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def exp2(x, WORDS: tl.constexpr):
    """Return 2 ** x; in the fast form results below 2 ** -126 are 0."""
    if WORDS == 0:
        result = tl.exp2(x)
    else:
        result = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return result


@triton.jit
def load_vector(pointer, N: tl.constexpr, WORDS: tl.constexpr):
    """Return the `N` values at each pointer as a tuple of float32 tensors.

    Args:
        pointer: To float32, float16 or bfloat16; aligned to `4 * WORDS` bytes.
        N: Number of values; for `WORDS > 0` a multiple of those in one piece.
        WORDS: 32-bit words in one load: 1, 2 or 4; 0 loads value by value.
    """
    values = ()
    if WORDS == 0:
        for i in tl.static_range(N):
            values = values + (tl.load(pointer + i).to(tl.float32),)
    else:
        per_word: tl.constexpr = 32 // pointer.dtype.element_ty.primitive_bitwidth
        for i in tl.static_range(0, N, WORDS * per_word):
            words = _load_words(pointer + i, WORDS)
            for w in tl.static_range(WORDS):
                values = values + _unpack(words[w], pointer.dtype.element_ty)
    return values


@triton.jit
def store_vector(pointer, values, FIRST: tl.constexpr, N: tl.constexpr, mask, WORDS: tl.constexpr):
    """Write `values[FIRST : FIRST + N]` at each pointer where `mask` holds; the counterpart of `load_vector`."""
    if WORDS == 0:
        for i in tl.static_range(N):
            tl.store(pointer + i, values[FIRST + i].to(pointer.dtype.element_ty), mask=mask)
    else:
        per_word: tl.constexpr = 32 // pointer.dtype.element_ty.primitive_bitwidth
        for i in tl.static_range(0, N, WORDS * per_word):
            words = ()
            for w in tl.static_range(WORDS):
                words = words + (_pack(values, FIRST + i + w * per_word, pointer.dtype.element_ty),)
            _store_words(pointer + i, words, mask, WORDS)


@triton.jit
def take(a, A: tl.constexpr, N: tl.constexpr):
    """Return `a[A : A + N]`.

    Triton 3.6 names a compiled function by its flattened argument types: tuples of 4 and 8 tensors get the function of 8 and 4.
    A function of several tuples must therefore be given tuples of one length, which it is told.
    """
    part = ()
    for i in tl.static_range(N):
        part = part + (a[A + i],)
    return part


@triton.jit
def add_dot(x, a, b, N: tl.constexpr):
    """Return `x` plus the inner product of two tuples of length `N`."""
    for i in tl.static_range(N):
        x += a[i] * b[i]
    return x


@triton.jit
def add_scaled(total, factor, a, N: tl.constexpr):
    """Return `total + factor * a`, tuples of length `N`."""
    result = ()
    for i in tl.static_range(N):
        result = result + (total[i] + factor * a[i],)
    return result


@triton.jit
def scale_vector(a, factor, N: tl.constexpr):
    """Return `factor * a` as a tuple."""
    result = ()
    for i in tl.static_range(N):
        result = result + (a[i] * factor,)
    return result


@triton.jit
def scale_unless(a, factor, EXACT: tl.constexpr, N: tl.constexpr):
    """Return `factor * a` as a tuple, or `a` itself with `EXACT`."""
    if EXACT:
        result = a
    else:
        result = scale_vector(a, factor, N)
    return result


@triton.jit
def make_zeros(N: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return a tuple of `N` float32 tensors of zeros, [ROWS, COLUMNS]."""
    values = ()
    for _ in tl.static_range(N):
        values = values + (tl.zeros([ROWS, COLUMNS], tl.float32),)
    return values


@triton.jit
def _unpack(word, DTYPE: tl.constexpr):
    if DTYPE == tl.float32:
        values = (word.to(tl.float32, bitcast=True),)
    elif DTYPE == tl.bfloat16:
        values = ((word << 16).to(tl.float32, bitcast=True), (word & -65536).to(tl.float32, bitcast=True))
    else:
        low = word.to(tl.int16).to(DTYPE, bitcast=True).to(tl.float32)
        high = (word >> 16).to(tl.int16).to(DTYPE, bitcast=True).to(tl.float32)
        values = (low, high)
    return values


@triton.jit
def _pack(values, FIRST: tl.constexpr, DTYPE: tl.constexpr):
    if DTYPE == tl.float32:
        word = values[FIRST].to(tl.int32, bitcast=True)
    else:
        low = values[FIRST].to(DTYPE).to(tl.int16, bitcast=True).to(tl.int32) & 65535
        high = values[FIRST + 1].to(DTYPE).to(tl.int16, bitcast=True).to(tl.int32) << 16
        word = low | high
    return word


@triton.jit
def _load_words(pointer, WORDS: tl.constexpr):
    address = pointer.to(tl.int64)
    if WORDS == 1:
        words = (
            tl.inline_asm_elementwise(
                "ld.global.nc.b32 $0, [$1];", "=r,l", [address], dtype=tl.int32, is_pure=True, pack=1
            ),
        )
    elif WORDS == 2:
        words = tl.inline_asm_elementwise(
            "ld.global.nc.v2.b32 {$0,$1}, [$2];",
            "=r,=r,l",
            [address],
            dtype=(tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        words = tl.inline_asm_elementwise(
            "ld.global.nc.v4.b32 {$0,$1,$2,$3}, [$4];",
            "=r,=r,=r,=r,l",
            [address],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    return words


@triton.jit
def _store_words(pointer, words, mask, WORDS: tl.constexpr):
    address, on = pointer.to(tl.int64), mask.to(tl.int32)
    if WORDS == 1:
        tl.inline_asm_elementwise(
            "{ .reg .pred p; setp.ne.s32 p, $2, 0; @p st.global.b32 [$1], $3; mov.b32 $0, 0; }",
            "=r,l,r,r",
            [address, on, words[0]],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
    elif WORDS == 2:
        tl.inline_asm_elementwise(
            "{ .reg .pred p; setp.ne.s32 p, $2, 0; @p st.global.v2.b32 [$1], {$3,$4}; mov.b32 $0, 0; }",
            "=r,l,r,r,r",
            [address, on, words[0], words[1]],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
    else:
        tl.inline_asm_elementwise(
            "{ .reg .pred p; setp.ne.s32 p, $2, 0; @p st.global.v4.b32 [$1], {$3,$4,$5,$6}; mov.b32 $0, 0; }",
            "=r,l,r,r,r,r,r",
            [address, on, words[0], words[1], words[2], words[3]],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
