#pragma once
#include <cstdint>
#include <span>
#include <string_view>

namespace espalier::tokenizer {

/// Code points of one general category.
struct CategoryRange {
  std::uint32_t first, last;
  std::string_view category;  ///< "Lu", "Nd", ...
};

/// What Hugging Face's regular expressions know of Unicode 15 and 16, in rising order. Libraries of
/// the system may know less (PCRE2 10.42: Unicode 14); a class that they know already may be named
/// twice.
std::span<const CategoryRange> categories_after_unicode_14();

}  // namespace espalier::tokenizer
