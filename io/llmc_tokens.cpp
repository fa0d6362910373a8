#include "io/llmc_tokens.hpp"

#include <cstring>

#include "base/error.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kHeaderBytes = 256 * sizeof(std::int32_t);
constexpr std::uint32_t kExamplesMagic = 20240522;

struct Kind {
  std::uint32_t magic;
  std::uint32_t version;
  TokenType type;
};
constexpr Kind kKinds[] = {{20240520, 1, TokenType::uint16}, {20240801, 7, TokenType::uint32}};

std::uint32_t load(const MappedFile& file, std::size_t i) {
  std::uint32_t value = 0;
  std::memcpy(&value, file.bytes().data() + i * sizeof(value), sizeof(value));
  return value;
}

template <class... Args>
[[noreturn]] void bad(const MappedFile& file, fmt::format_string<Args...> format, Args&&... args) {
  fail(ExitStatus::bad_data, "{}: {}", file.path().string(),
       fmt::format(format, std::forward<Args>(args)...));
}

/// By the magic number alone.
Kind kind_of(const MappedFile& file) {
  const std::uint32_t magic = load(file, 0);
  for (const Kind& kind : kKinds) {
    if (magic == kind.magic) return kind;
    if (magic == __builtin_bswap32(kind.magic))
      bad(file,
          "the file has the byte order of a big-endian machine. Write it again on a little-endian "
          "one");
  }
  if (magic == kExamplesMagic)
    bad(file, "these are llm.c's multiple-choice questions, not a stream of tokens");
  bad(file,
      "this is no token file that is known: one of llm.c begins with the number {} (GPT-2) or {} "
      "(Llama 3), and here is {}; one of Megatron has its .idx of the same name beside it. Ids "
      "without a header (nanoGPT's) are not read, because nothing says what they are",
      kKinds[0].magic, kKinds[1].magic, magic);
}

}  // namespace

LlmcTokens::LlmcTokens(const std::filesystem::path& path) : file_(path) {
  const std::uint64_t file_bytes = file_.bytes().size();
  const bool has_magic = file_bytes >= sizeof(std::uint32_t);
  const Kind kind = has_magic ? kind_of(file_) : kKinds[0];
  if (file_bytes < kHeaderBytes)
    bad(file_, "the file has {} bytes, and the header of llm.c's alone has {}: cut short",
        file_bytes, kHeaderBytes);
  const std::uint32_t version = load(file_, 1);
  if (version != kind.version)
    bad(file_, "the file of llm.c has version {}, this program reads version {}", version,
        kind.version);
  const auto count = static_cast<std::int32_t>(load(file_, 2));
  if (count < 0) bad(file_, "the header speaks of {} ids: damaged", count);
  const std::uint64_t wanted =
      kHeaderBytes + static_cast<std::uint64_t>(count) * bytes_of(kind.type);
  if (file_bytes != wanted)
    bad(file_, "the file has {} bytes, and {} ids of {} want {}: {}", file_bytes, count,
        name_of(kind.type), wanted,
        file_bytes < wanted ? "cut short" : "the header is not that of what follows");
  tokens_ = PackedTokens(file_.bytes().subspan(kHeaderBytes), kind.type);
}

}  // namespace espalier::io
