#include "io/token_shard.hpp"

#include <algorithm>
#include <functional>

#include "base/error.hpp"
#include "base/stop_request.hpp"
#include "base/text.hpp"
#include "io/hdf5.hpp"
#include "io/mapped_file.hpp"
#include "io/told_bytes.hpp"

namespace espalier::io {
namespace {

constexpr const char* kRemedy = "Write the shards again with `espalier tokenize`";

/// Of all tokens of a shard, which may be many: a request to stop is heard in between.
template <class T>
std::string checksum_of(std::span<const T> values, const std::filesystem::path& path) {
  constexpr std::size_t kPart = std::size_t{16} << 20;
  BytesHash hash;
  for (std::size_t begin = 0; begin < values.size(); begin += kPart) {
    require(!stop_requested(), ExitStatus::stopped_early,
            "stopped by a signal while comparing the checksum of {}: nothing was done; start the "
            "same command again",
            path.string());
    hash.add(std::as_bytes(values.subspan(begin, std::min(kPart, values.size() - begin))));
  }
  return fmt::format("{:016x}", hash.value());
}

template <class... Args>
[[noreturn]] void bad_shard(const std::filesystem::path& path, fmt::format_string<Args...> format,
                            Args&&... args) {
  fail(ExitStatus::bad_data, "{}: {}. {}", path.string(),
       fmt::format(format, std::forward<Args>(args)...), kRemedy);
}

/// The one-dimensional dataset `name` as it lies in the file, checked to be plain memory of T.
template <class T>
std::span<const T> map_dataset(hid_t file, const MappedFile& mapping, const char* name,
                               hid_t file_type, std::uint64_t count) {
  const auto& path = mapping.path();
  if (H5Lexists(file, name, H5P_DEFAULT) <= 0) bad_shard(path, "the dataset `{}` is missing", name);
  const Hdf5Dataset dataset(ESPALIER_HDF5(bad_data, path, H5Dopen2(file, name, H5P_DEFAULT)));
  const Hdf5Type type(ESPALIER_HDF5(bad_data, path, H5Dget_type(dataset.get())));
  const Hdf5Space space(ESPALIER_HDF5(bad_data, path, H5Dget_space(dataset.get())));
  const Hdf5PropertyList creation(
      ESPALIER_HDF5(bad_data, path, H5Dget_create_plist(dataset.get())));
  if (H5Tequal(type.get(), file_type) <= 0 || H5Sget_simple_extent_ndims(space.get()) != 1 ||
      H5Pget_layout(creation.get()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.get()) != 0)
    bad_shard(path, "the dataset `{}` is not a contiguous array of {}-bit integers", name,
              8 * sizeof(T));
  const auto found = static_cast<std::uint64_t>(H5Sget_simple_extent_npoints(space.get()));
  if (found != count)
    bad_shard(path, "the dataset `{}` has {} elements, its header says {}", name, found, count);
  if (count == 0) return {};

  const haddr_t offset = H5Dget_offset(dataset.get());
  const std::size_t file_bytes = mapping.bytes().size();
  if (offset == HADDR_UNDEF || offset > file_bytes || count > (file_bytes - offset) / sizeof(T))
    bad_shard(path, "the dataset `{}` reaches past the end of the file ({} bytes): truncated", name,
              file_bytes);
  if (offset % alignof(T) != 0)
    bad_shard(path, "the dataset `{}` is not aligned (rewritten by another program)", name);
  return {reinterpret_cast<const T*>(mapping.bytes().data() + offset), count};
}

ShardInfo read_info(hid_t file, const std::filesystem::path& path) {
  if (!has_attribute(file, "format") ||
      read_string_attribute(file, path, "format") != kTokenShardFormat)
    bad_shard(path, "this HDF5 file is not a token shard");
  const std::uint64_t version = read_u64_attribute(file, path, "format_version");
  if (version != kTokenShardVersion)
    bad_shard(path, "the shard has format version {}, this program reads version {}", version,
              kTokenShardVersion);
  ShardInfo info;
  info.tokenizer_identity = read_string_attribute(file, path, "tokenizer");
  info.tokenizer_file = read_string_attribute(file, path, "tokenizer_file");
  const std::uint64_t vocabulary = read_u64_attribute(file, path, "vocabulary");
  const std::uint64_t end_of_text = read_u64_attribute(file, path, "end_of_text");
  if (vocabulary > 0xFFFFFFFFu || end_of_text >= vocabulary)
    bad_shard(path, "vocabulary {} and end_of_text {} are no token ids", vocabulary, end_of_text);
  info.vocabulary = static_cast<std::uint32_t>(vocabulary);
  info.end_of_text = static_cast<std::uint32_t>(end_of_text);
  info.source = read_string_attribute(file, path, "source");
  info.split = read_string_attribute(file, path, "split");
  info.num_bytes = read_u64_attribute(file, path, "num_bytes");
  info.num_tokens = read_u64_attribute(file, path, "num_tokens");
  info.num_documents = read_u64_attribute(file, path, "num_documents");
  info.checksum = read_string_attribute(file, path, "checksum");
  return info;
}

/// visit(field) for every field of ShardInfo. One more or less does not compile.
template <class Info, class Visit>
void for_each_field(Info& info, Visit&& visit) {
  auto& [tokenizer_identity, tokenizer_file, vocabulary, end_of_text, source, split, num_bytes,
         num_tokens, num_documents, checksum] = info;
  visit(tokenizer_identity), visit(tokenizer_file), visit(vocabulary), visit(end_of_text);
  visit(source), visit(split), visit(num_bytes), visit(num_tokens), visit(num_documents);
  visit(checksum);
}

/// `documents_checksum`: empty for a shard that is older than it.
void verify_contents(const std::filesystem::path& path, const ShardInfo& info,
                     std::span<const std::uint32_t> tokens,
                     std::span<const std::uint64_t> documents,
                     const std::string& documents_checksum) {
  const std::string found = checksum_of(tokens, path);
  if (found != info.checksum)
    bad_shard(path, "the checksum of the tokens is {}, the header says {}: the file is damaged",
              found, info.checksum);
  // Not part of the checksum's promise: a shard may be consistent and yet written with a header of
  // another vocabulary, and an id past the embedding would read foreign memory.
  const auto largest = std::max_element(tokens.begin(), tokens.end());
  if (largest != tokens.end() && *largest >= info.vocabulary)
    bad_shard(path, "token {} has id {}, but the vocabulary has {} ids", largest - tokens.begin(),
              *largest, info.vocabulary);
  const auto descent = std::adjacent_find(documents.begin(), documents.end(), std::greater_equal{});
  if (descent != documents.end() || (!documents.empty() && documents.front() != 0) ||
      (!documents.empty() && documents.back() >= tokens.size()))
    bad_shard(path, "the document starts are not in order: the file is damaged");
  if (!documents_checksum.empty() && checksum_of(documents, path) != documents_checksum)
    bad_shard(path,
              "the checksum of the document starts is {}, the header says {}: the file is damaged",
              checksum_of(documents, path), documents_checksum);
}

}  // namespace

struct TokenShard::Implementation {
  MappedFile mapping;
  ShardInfo info;
  std::span<const std::uint32_t> tokens;
  std::span<const std::uint64_t> documents;
};

TokenShard::TokenShard(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
TokenShard::TokenShard(TokenShard&&) noexcept = default;
TokenShard::~TokenShard() = default;

TokenShard TokenShard::open(const std::filesystem::path& path, bool verify) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) bad_shard(path, "there is no such token shard");
  auto shard = std::make_unique<Implementation>(Implementation{MappedFile(path), {}, {}, {}});
  std::string documents_checksum;
  {
    const auto lock = hdf5_lock();
    if (H5Fis_hdf5(path.c_str()) <= 0)
      bad_shard(path, "this is not a token shard (not an HDF5 file, or damaged at its start)");
    const Hdf5File file = hdf5_open_to_read(path);
    shard->info = read_info(file.get(), path);
    shard->tokens = map_dataset<std::uint32_t>(file.get(), shard->mapping, "tokens", H5T_STD_U32LE,
                                               shard->info.num_tokens);
    shard->documents = map_dataset<std::uint64_t>(file.get(), shard->mapping, "documents",
                                                  H5T_STD_U64LE, shard->info.num_documents);
    if (has_attribute(file.get(), "documents_checksum"))
      documents_checksum = read_string_attribute(file.get(), path, "documents_checksum");
  }
  if (verify)
    verify_contents(path, shard->info, shard->tokens, shard->documents, documents_checksum);
  return TokenShard(std::move(shard));
}

std::string TokenShard::outline() const {
  ToldBytesWriter out;
  out.put(path().string());
  for_each_field(implementation_->info, [&](const auto& field) { out.put(field); });
  const auto bytes = implementation_->mapping.bytes();
  const auto put_place = [&](const auto& values) {
    const auto all = std::as_bytes(values);
    out.put(all.empty() ? std::uint64_t{0} : static_cast<std::uint64_t>(all.data() - bytes.data()));
  };
  out.put(std::uint64_t{bytes.size()});
  put_place(implementation_->tokens);
  put_place(implementation_->documents);
  return out.take();
}

TokenShard TokenShard::told(const std::string& outline) {
  ToldBytesReader in(outline);
  auto shard = std::make_unique<Implementation>(
      Implementation{MappedFile(in.get<std::string>()), {}, {}, {}});
  for_each_field(shard->info, [&](auto& field) { in.get(field); });
  const auto bytes = shard->mapping.bytes();
  const auto file_bytes = in.get<std::uint64_t>();
  require(bytes.size() == file_bytes, ExitStatus::bad_data,
          "{} has {} bytes here and {} for rank 0: not every node sees the same files, or it is "
          "being written; start again",
          shard->mapping.path().string(), bytes.size(), file_bytes);
  const auto take_place = [&](auto& values, std::uint64_t count) {
    using T = std::remove_reference_t<decltype(values[0])>;
    values = {reinterpret_cast<T*>(bytes.data() + in.get<std::uint64_t>()), count};
  };
  take_place(shard->tokens, shard->info.num_tokens);
  take_place(shard->documents, shard->info.num_documents);
  return TokenShard(std::move(shard));
}

const ShardInfo& TokenShard::info() const {
  return implementation_->info;
}
std::span<const std::uint32_t> TokenShard::tokens() const {
  return implementation_->tokens;
}
std::span<const std::uint64_t> TokenShard::documents() const {
  return implementation_->documents;
}
const std::filesystem::path& TokenShard::path() const {
  return implementation_->mapping.path();
}

std::vector<TokenShard> open_shards(const std::string& where, const std::string& split, bool verify,
                                    const std::string& named_by) {
  const std::string key = named_by.empty() ? "data." + split : named_by;
  require(!where.empty(), ExitStatus::bad_data,
          "No {} token shards are named: set {} to a shard or to a folder with {}-*.h5", split, key,
          split);
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  if (std::filesystem::is_directory(where, error)) {
    for (const auto& entry : std::filesystem::directory_iterator(where)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(split + "-") && name.ends_with(".h5")) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    require(!paths.empty(), ExitStatus::bad_data,
            "{}: the folder holds no {}-*.h5. Write them with `espalier tokenize`, or correct {}",
            where, split, key);
  } else {
    require(std::filesystem::exists(where, error), ExitStatus::bad_data,
            "{}: there is no such token shard, nor such a folder. Write it with `espalier "
            "tokenize`, or correct {}",
            where, key);
    paths.emplace_back(where);
  }

  std::vector<TokenShard> shards;
  for (const auto& path : paths) {
    shards.push_back(TokenShard::open(path, verify));
    const ShardInfo& first = shards.front().info();
    const ShardInfo& last = shards.back().info();
    if (last.tokenizer_identity != first.tokenizer_identity)
      bad_shard(path, "it was written with tokenizer {} ({}), but {} with {} ({})",
                last.tokenizer_identity, last.tokenizer_file, shards.front().path().string(),
                first.tokenizer_identity, first.tokenizer_file);
  }
  return shards;
}

}  // namespace espalier::io
