#include "io/lustre.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <cerrno>
#include <system_error>

#include "io/checkpoint_files.hpp"

namespace espalier::io {
namespace {

constexpr decltype(statfs::f_type) kLustreMagic = 0x0BD00BD0;

/// `struct lov_user_md_v1` of Lustre's lustre_user.h, which its kernels accept since 1.8.
struct StripeRequest {
  std::uint32_t magic = 0x0BD10BD0;
  std::uint32_t pattern = 0;  ///< the default, RAID 0
  std::uint64_t object_id = 0;
  std::uint64_t object_sequence = 0;
  std::uint32_t stripe_size = 0;  ///< bytes; 0: the file system's
  std::uint16_t stripe_count = 0;
  std::uint16_t first_target = 0xffff;  ///< any
};
static_assert(sizeof(StripeRequest) == 32);

/// LL_IOC_LOV_SETSTRIPE; on a folder it sets what new files inherit.
constexpr unsigned long kSetStripe = _IOW('f', 154, long);

}  // namespace

std::optional<std::string> set_stripe_count(const std::filesystem::path& folder,
                                            std::int64_t stripe_count) {
  if (stripe_count == 0) return std::nullopt;
  struct statfs system {};
  if (::statfs(folder.c_str(), &system) != 0 || system.f_type != kLustreMagic)
    return fmt::format("checkpoint.stripe_count = {} has no effect: {} is not on Lustre",
                       stripe_count, folder.string());
  StripeRequest request;
  request.stripe_count =
      stripe_count < 0 ? std::uint16_t{0xffff} : static_cast<std::uint16_t>(stripe_count);
  const FileDescriptor opened(folder, O_RDONLY | O_DIRECTORY);  // rank 0 has just made it
  if (::ioctl(opened.get(), kSetStripe, &request) != 0)
    return fmt::format(
        "checkpoint.stripe_count = {} has no effect: Lustre does not accept it for "
        "{}: {}",
        stripe_count, folder.string(), std::generic_category().message(errno));
  return std::nullopt;
}

}  // namespace espalier::io
