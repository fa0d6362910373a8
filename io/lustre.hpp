#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace espalier::io {

/// Spreads the files that will be made in `folder` and below over `stripe_count` storage targets
/// (-1: all) where the folder lies on Lustre; 0 leaves the folder's own layout. As
/// `lfs setstripe -c` does, by the ioctl of lustre_user.h, since Lustre's library is only where
/// Lustre is. What is there already keeps its layout. Returns why nothing was changed, for a
/// warning: a checkpoint is as good without. Throws Error (io_error) when the folder cannot be
/// opened.
std::optional<std::string> set_stripe_count(const std::filesystem::path& folder,
                                            std::int64_t stripe_count);

}  // namespace espalier::io
