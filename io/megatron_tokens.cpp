#include "io/megatron_tokens.hpp"

#include <bit>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.hpp"

namespace espalier::io {
namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr std::string_view kOldMagic("TNTIDX\0\0", 8);
constexpr std::size_t kHeaderBytes = 9 + 8 + 1 + 8 + 8;

template <class T>
T load(std::span<const std::byte> bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

template <class... Args>
[[noreturn]] void bad(const MappedFile& file, fmt::format_string<Args...> format, Args&&... args) {
  fail(ExitStatus::bad_data, "{}: {}", file.path().string(),
       fmt::format(format, std::forward<Args>(args)...));
}

std::optional<TokenType> type_of(std::uint8_t code) {
  switch (code) {
    case 1:
      return TokenType::uint8;
    case 2:
      return TokenType::int8;
    case 3:
      return TokenType::int16;
    case 4:
      return TokenType::int32;
    case 5:
      return TokenType::int64;
    case 8:
      return TokenType::uint16;
    default:
      return std::nullopt;
  }
}

}  // namespace

MegatronTokens::MegatronTokens(const std::filesystem::path& index,
                               const std::filesystem::path& data)
    : index_(index), data_(data) {
  read_header();
  check_sequences();
  check_documents();
}

void MegatronTokens::read_header() {
  const auto bytes = index_.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with(kOldMagic))
    bad(index_,
        "the index has the older format of fairseq and Megatron (TNTIDX), which is not read. "
        "Write the files again with --dataset-impl mmap");
  if (!text.starts_with(kMagic.substr(0, text.size())))
    bad(index_, "this is not the index of a Megatron dataset, which begins with MMIDIDX");
  if (bytes.size() < kHeaderBytes)
    bad(index_, "the file has {} bytes and its header {}: cut short", bytes.size(), kHeaderBytes);

  const auto version = load<std::uint64_t>(bytes, 9);
  if (version == std::uint64_t{1} << 56)
    bad(index_,
        "the file has the byte order of a big-endian machine. Write it again on a little-endian "
        "one");
  if (version != 1) bad(index_, "the index has version {}, this program reads version 1", version);
  const auto code = load<std::uint8_t>(bytes, 17);
  const auto type = type_of(code);
  if (code == 6 || code == 7)
    bad(index_, "the data are floating-point numbers (type code {}): no ids of tokens", code);
  if (!type)
    bad(index_,
        "type code {} is unknown: ids are uint8 (1), int8 (2), int16 (3), int32 (4), "
        "int64 (5) or uint16 (8)",
        code);
  type_ = *type;

  num_sequences_ = load<std::uint64_t>(bytes, 18);
  const auto num_indices = load<std::uint64_t>(bytes, 26);
  if (num_indices == 0) bad(index_, "the index has no documents, not even the end of the last one");
  num_documents_ = num_indices - 1;
  // Compared without a product that could overflow.
  const std::uint64_t left = bytes.size() - kHeaderBytes;
  const bool fits = num_sequences_ <= left / 12 && num_indices <= (left - 12 * num_sequences_) / 8;
  if (!fits)
    bad(index_,
        "the header says {} sequences and {} documents, for which its {} bytes are too few: "
        "cut short",
        num_sequences_, num_documents_, bytes.size());
  const std::uint64_t behind = left - 12 * num_sequences_ - 8 * num_indices;
  if (behind == num_sequences_ && behind > 0)
    bad(index_, "this is a multimodal dataset (a mode for every sequence), not one of text");
  if (behind > 0)
    bad(index_, "there are {} bytes behind the index of {} sequences and {} documents: damaged",
        behind, num_sequences_, num_documents_);
}

// The published writer puts sequences one behind the other. Whatever is not so is damage, or the
// index of another .bin.
void MegatronTokens::check_sequences() const {
  const auto width = static_cast<std::int64_t>(bytes_of(type_));
  const auto present = static_cast<std::int64_t>(data_.bytes().size());
  std::int64_t end = 0;
  for (std::uint64_t s = 0; s < num_sequences_; ++s) {
    const std::int32_t count = length(s);
    if (count < 0) bad(index_, "sequence {} has {} ids: damaged", s, count);
    if (pointer(s) != end)
      bad(index_,
          "sequence {} begins at byte {} of the .bin, and the one before it ends at {}: damaged", s,
          pointer(s), end);
    end += count * width;
    if (end > present)
      bad(data_, "the file has {} bytes, and sequence {} of {} ends at {}: cut short", present, s,
          index_.path().filename().string(), end);
  }
  if (present > end)
    bad(data_, "the file has {} bytes, its index {} speaks of {}: is it the index of another one?",
        present, index_.path().filename().string(), end);
}

void MegatronTokens::check_documents() const {
  std::int64_t before = 0;
  for (std::uint64_t i = 0; i <= num_documents_; ++i) {
    const std::int64_t sequence = document_index(i);
    if (sequence < before || (i == 0 && sequence != 0))
      bad(index_, "document {} begins with sequence {}, which is out of order: damaged", i,
          sequence);
    before = sequence;
  }
  if (before != static_cast<std::int64_t>(num_sequences_))
    bad(index_, "the last document ends with sequence {} of {}: damaged", before, num_sequences_);
}

std::int32_t MegatronTokens::length(std::uint64_t sequence) const {
  return load<std::int32_t>(index_.bytes(), kHeaderBytes + 4 * sequence);
}

std::int64_t MegatronTokens::pointer(std::uint64_t sequence) const {
  return load<std::int64_t>(index_.bytes(), kHeaderBytes + 4 * num_sequences_ + 8 * sequence);
}

std::int64_t MegatronTokens::document_index(std::uint64_t i) const {
  return load<std::int64_t>(index_.bytes(), kHeaderBytes + 12 * num_sequences_ + 8 * i);
}

std::uint64_t MegatronTokens::first_token(std::uint64_t i) const {
  const auto sequence = static_cast<std::uint64_t>(document_index(i));
  if (sequence == num_sequences_) return num_tokens();
  return static_cast<std::uint64_t>(pointer(sequence)) / bytes_of(type_);
}

PackedTokens MegatronTokens::document(std::uint64_t i) const {
  ESPALIER_ASSERT(i < num_documents_);
  const std::uint64_t first = first_token(i);
  return PackedTokens(data_.bytes(), type_).part(first, first_token(i + 1) - first);
}

}  // namespace espalier::io
