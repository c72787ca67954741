// Copying between a caller's array and memory that ranks share.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fnn::comm {

// `to` and `from` are apart, or the same (then nothing happens).
//
// Not memcpy: glibc's takes the instruction `rep movsb` for more than some 2 KB, which on AMD's Zen 3 and 4 crawls
// where `to` lies a little behind `from` within a page (glibc's bug 30994): 2 to 3 GB/s instead of 40. That isn't rare:
// every large array of NumPy begins 16 bytes behind a page, and what's shared begins with one.
void copy_bytes(void* to, const void* from, std::int64_t bytes);

}  // namespace fnn::comm
