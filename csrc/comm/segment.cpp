#include "comm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace fnn::comm {
namespace {

std::size_t rounded_to_page(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

[[noreturn]] void refuse(const char* what) {
  fail_to_join(std::string("init: shared memory: ") + what + ": " + std::strerror(errno));
}

std::byte* map(int file, std::size_t bytes, std::int64_t offset) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, offset);
  if (at == MAP_FAILED) refuse("mmap");
  return static_cast<std::byte*>(at);
}

struct flock lock_of(int rank) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

}  // namespace

std::size_t Segment::control_size(int ranks) {
  return rounded_to_page(kControl + static_cast<std::size_t>(ranks) * sizeof(RankState));
}

Fd Segment::create_file(int ranks) {
  static_assert(sizeof(SharedFailure) <= kControl, "before the ranks' states");
  Fd file(::memfd_create("fastnn", MFD_CLOEXEC));
  if (!file) refuse("memfd_create");
  const std::size_t size = control_size(ranks) + static_cast<std::size_t>(ranks) * 4 * kStage;
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) refuse("ftruncate");
  return file;
}

Segment::Segment(Fd file, int ranks) : file_(std::move(file)), ranks_(ranks) {
  base_ = map(file_.get(), control_size(ranks) + static_cast<std::size_t>(ranks) * 4 * kStage, 0);
  stages_ = base_ + control_size(ranks);
}

Segment::~Segment() { ::munmap(base_, control_size(ranks_) + static_cast<std::size_t>(ranks_) * 4 * kStage); }

bool Segment::lock(int rank) const {
  struct flock lock = lock_of(rank);
  return ::fcntl(file_.get(), F_SETLK, &lock) == 0;
}

bool Segment::is_locked(int rank) const {
  struct flock lock = lock_of(rank);
  return ::fcntl(file_.get(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Mapping::Mapping(const Segment& segment, std::int64_t offset, std::int64_t bytes_of_one, int local_rank)
    : offset_(offset), bytes_(bytes_of_one), ranks_(segment.ranks()), local_rank_(local_rank) {
  base_ = map(segment.file(), static_cast<std::size_t>(bytes_ * ranks_), offset);
}

// The others touch this rank's part in operations that this rank takes part in alone, so it may go. (No copy of the
// file's descriptor is kept for that: closing it would drop the lock that says that this process lives.)
Mapping::~Mapping() {
  ::madvise(own(), static_cast<std::size_t>(bytes_), MADV_REMOVE);
  ::munmap(base_, static_cast<std::size_t>(bytes_ * ranks_));
}

}  // namespace fnn::comm
