# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One pass from stored images to the float32 batch: gather by index, crop with padding, flip, normalise.

Which crop and which flip a sample gets is drawn by ``draw`` from a counter-based generator, Philox4x32-10 (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), with key = seed and counter = (sample index, epoch,
stream). A draw so depends on these numbers alone: neither the batch a sample falls in nor the thread that prepares it
matters. ``gather`` then moves the pixels. Both run without the GIL. Their callers in ``transforms.py`` check what the
arguments mean; here only memory safety is checked.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

ctypedef fused Storage:
    uint8_t
    float

cdef struct Philox:
    uint32_t words[4]

cdef struct Geometry:
    Py_ssize_t height, width, channels  # of a stored image
    Py_ssize_t out_height, out_width    # of an image of the batch


cdef inline Philox philox4x32(uint64_t key, uint64_t low, uint32_t third, uint32_t fourth) noexcept nogil:
    """Ten rounds of Philox4x32 over the counter (low, third, fourth)."""
    cdef uint32_t c0 = <uint32_t>low, c1 = <uint32_t>(low >> 32), c2 = third, c3 = fourth
    cdef uint32_t k0 = <uint32_t>key, k1 = <uint32_t>(key >> 32)
    cdef uint64_t product0, product1
    cdef Philox result
    for _ in range(10):
        product0 = <uint64_t>0xD2511F53u * c0
        product1 = <uint64_t>0xCD9E8D57u * c2
        c0 = <uint32_t>(product1 >> 32) ^ c1 ^ k0
        c1 = <uint32_t>product1
        c2 = <uint32_t>(product0 >> 32) ^ c3 ^ k1
        c3 = <uint32_t>product0
        k0 += 0x9E3779B9u
        k1 += 0xBB67AE85u
    result.words[0], result.words[1], result.words[2], result.words[3] = c0, c1, c2, c3
    return result


cdef inline int32_t uniform(uint32_t word, int64_t low, int64_t high) noexcept nogil:
    """An integer of [low, high], by multiplication instead of a division (bias below 2**-32 * (high - low + 1))."""
    return <int32_t>(low + <int64_t>((<uint64_t>word * <uint64_t>(high - low + 1)) >> 32))


def draw(int32_t[:, ::1] moves, const int64_t[::1] index, uint64_t seed, uint32_t epoch, uint32_t stream,
         tuple top, tuple left, bint horizontal, bint vertical):
    """Draw one row (top, left, flip horizontally, flip vertically) of ``moves`` for each sample of ``index``.

    Args:
        moves: int32 [m, 4], written.
        index: int64 [m], the samples' numbers in the data set.
        seed, epoch, stream: with the index they fix the draw.
        top, left: the smallest and the largest value, both included, of the crop's corner.
        horizontal, vertical: whether to flip with probability one half in that direction.
    """
    cdef int64_t top_low = top[0], top_high = top[1], left_low = left[0], left_high = left[1]
    cdef Py_ssize_t i, count = index.shape[0]
    cdef Philox bits
    if moves.shape[0] != count or moves.shape[1] != 4:
        raise ValueError(f"draw: moves must be of shape ({count}, 4), got ({moves.shape[0]}, {moves.shape[1]})")
    with nogil:
        for i in range(count):
            bits = philox4x32(seed, <uint64_t>index[i], epoch, stream)
            moves[i, 0] = uniform(bits.words[0], top_low, top_high)
            moves[i, 1] = uniform(bits.words[1], left_low, left_high)
            moves[i, 2] = horizontal and bits.words[2] >> 31
            moves[i, 3] = vertical and bits.words[3] >> 31


cdef inline void copy_row(const Storage* x, float* y, Py_ssize_t count, const float* scale,
                          const float* shift) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        y[i] = x[i] * scale[i] + shift[i]


cdef inline void copy_row_reversed(const Storage* x, float* y, Py_ssize_t pixels, Py_ssize_t channels,
                                   const float* scale, const float* shift) noexcept nogil:
    """Pixel ``i`` of ``y`` is pixel ``pixels - 1 - i`` of ``x``; one and three channels have loops of their own."""
    cdef Py_ssize_t i, k
    if channels == 1:
        for i in range(pixels):
            y[i] = x[pixels - 1 - i] * scale[i] + shift[i]
    elif channels == 3:
        for i in range(pixels):
            k = 3 * (pixels - 1 - i)
            y[3 * i] = x[k] * scale[3 * i] + shift[3 * i]
            y[3 * i + 1] = x[k + 1] * scale[3 * i + 1] + shift[3 * i + 1]
            y[3 * i + 2] = x[k + 2] * scale[3 * i + 2] + shift[3 * i + 2]
    else:
        for i in range(pixels):
            for k in range(channels):
                y[i * channels + k] = (x[(pixels - 1 - i) * channels + k] * scale[i * channels + k]
                                       + shift[i * channels + k])


cdef inline void fill(float* y, const float* shift, Py_ssize_t count) noexcept nogil:
    """What lies outside the image is a stored zero, normalised like every other pixel: 0 * scale + shift."""
    cdef Py_ssize_t i
    for i in range(count):
        y[i] = shift[i]


cdef void move_image(const Storage* x, float* y, const Geometry* size, const int32_t* move, const float* scale,
                     const float* shift) noexcept nogil:
    """Crop at (top, left), then flip. [begin, end) are the columns of the unflipped crop that lie inside the image."""
    cdef Py_ssize_t top = move[0], left = move[1], channels = size.channels, width = size.out_width
    cdef Py_ssize_t begin = min(max(-left, 0), width), end = max(min(size.width - left, width), begin)
    cdef Py_ssize_t inside = end - begin, first = width - end if move[2] else begin
    cdef Py_ssize_t row, source
    cdef const Storage* x_row
    for row in range(size.out_height):
        source = top + (size.out_height - 1 - row if move[3] else row)
        if source < 0 or source >= size.height or inside == 0:
            fill(y, shift, width * channels)
        else:
            x_row = x + (source * size.width + left + begin) * channels
            fill(y, shift, first * channels)
            if move[2]:
                copy_row_reversed(x_row, y + first * channels, inside, channels, scale + first * channels,
                                  shift + first * channels)
            else:
                copy_row(x_row, y + first * channels, inside * channels, scale + first * channels,
                         shift + first * channels)
            fill(y + (first + inside) * channels, shift + (first + inside) * channels,
                 (width - first - inside) * channels)
        y += width * channels


def gather(const Storage[:, :, :, ::1] x, const int64_t[::1] index, float[:, :, :, ::1] out,
           const int32_t[:, ::1] moves, const float[::1] scale, const float[::1] shift):
    """out[i] = flip(crop(x[index[i]], moves[i])) * scale + shift, in one pass over the pixels.

    Args:
        x: uint8 or float32 [n, h, w, c].
        index: int64 [m], each in [0, n).
        out: float32 [m, out_h, out_w, c], written.
        moves: int32 [m, 4] of ``draw``: top, left, flip horizontally, flip vertically.
        scale, shift: float32 [out_w * c], one row's.
    """
    cdef Geometry size
    cdef Py_ssize_t i, count = index.shape[0], in_stride, out_stride
    cdef int64_t bad = -1
    size.height, size.width, size.channels = x.shape[1], x.shape[2], x.shape[3]
    size.out_height, size.out_width = out.shape[1], out.shape[2]
    if out.shape[0] != count or out.shape[3] != size.channels:
        raise ValueError(f"gather: out must be of shape ({count}, height, width, {size.channels}), "
                         f"got ({out.shape[0]}, {out.shape[1]}, {out.shape[2]}, {out.shape[3]})")
    if moves.shape[0] != count or moves.shape[1] != 4:
        raise ValueError(f"gather: moves must be of shape ({count}, 4), got ({moves.shape[0]}, {moves.shape[1]})")
    if scale.shape[0] != size.out_width * size.channels or shift.shape[0] != scale.shape[0]:
        raise ValueError(f"gather: scale and shift must be of length {size.out_width * size.channels}, "
                         f"got {scale.shape[0]} and {shift.shape[0]}")
    in_stride = size.height * size.width * size.channels
    out_stride = size.out_height * size.out_width * size.channels
    with nogil:
        for i in range(count):
            if index[i] < 0 or index[i] >= x.shape[0]:
                bad = i
                break
        if bad < 0 and in_stride > 0 and out_stride > 0:
            for i in range(count):
                move_image(&x[0, 0, 0, 0] + index[i] * in_stride, &out[0, 0, 0, 0] + i * out_stride, &size,
                           &moves[i, 0], &scale[0], &shift[0])
    if bad >= 0:
        raise IndexError(f"gather: index must be in [0, {x.shape[0]}), got {index[bad]} at position {bad}")
