// Lustre is imitated by the two calls that the program makes of it: statfs and ioctl.

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <optional>

#include "io/lustre.hpp"
#include "support/scratch_folder.hpp"

namespace {

struct ImitatedLustre {
  int error = 0;  ///< of the ioctl
  unsigned long request = 0;
  std::array<unsigned char, 32> bytes{};
};
std::optional<ImitatedLustre> imitated;  ///< nothing: the calls go to the system

class OnLustre {
 public:
  explicit OnLustre(int error = 0) { imitated = ImitatedLustre{.error = error}; }
  ~OnLustre() { imitated.reset(); }
};

}  // namespace

extern "C" int statfs(const char* path, struct statfs* result) noexcept {
  const auto status = static_cast<int>(::syscall(SYS_statfs, path, result));
  if (imitated && status == 0) result->f_type = 0x0BD00BD0;
  return status;
}

extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  if (!imitated) return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
  imitated->request = request;
  std::memcpy(imitated->bytes.data(), argument, imitated->bytes.size());
  errno = imitated->error;
  return imitated->error == 0 ? 0 : -1;
}

namespace espalier::io {

TEST_CASE("a folder on Lustre is asked to spread its files", "[io][checkpoint]") {
  const espalier::testing::ScratchFolder scratch;
  const OnLustre lustre;
  CHECK_FALSE(set_stripe_count(scratch.path(), 8));
  // lustre_user.h: _IOW('f', 154, long); magic, pattern, object (two 64-bit words), stripe size,
  // stripe count, first target.
  CHECK(imitated->request == 0x4008669AUL);
  const std::array<unsigned char, 32> expected = {
      0xD0, 0x0B, 0xD1, 0x0B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0,     //
      0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0xFF, 0xFF,  //
  };
  CHECK(imitated->bytes == expected);
  CHECK_FALSE(set_stripe_count(scratch.path(), -1));
  CHECK(imitated->bytes[28] == 0xFF);
  CHECK(imitated->bytes[29] == 0xFF);
}

TEST_CASE("stripes that cannot be set are told, not fatal", "[io][checkpoint]") {
  const espalier::testing::ScratchFolder scratch;
  CHECK_FALSE(set_stripe_count(scratch.path(), 0));
  CHECK_THAT(set_stripe_count(scratch.path(), 4).value_or(""),
             Catch::Contains("checkpoint.stripe_count = 4 has no effect") &&
                 Catch::Contains("is not on Lustre"));
  const OnLustre lustre(EINVAL);
  CHECK_THAT(set_stripe_count(scratch.path(), 4).value_or(""),
             Catch::Contains("Lustre does not accept it") && Catch::Contains("Invalid argument"));
}

}  // namespace espalier::io
