#include "io/byte_source.hpp"

#include "base/error.hpp"
#include "io/file_kind.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(std::unique_ptr<InputFile> file) : file_(std::move(file)) {}
  std::size_t read(std::span<char> out) override { return file_->read(out); }
  std::uint64_t position() const override { return file_->position(); }
  std::uint64_t size() const override { return file_->size(); }

 private:
  std::unique_ptr<InputFile> file_;
};

}  // namespace

PackedSource::PackedSource(std::unique_ptr<InputFile> file, const char* kind)
    : file_(std::move(file)), kind_(kind), chunk_(kChunkBytes) {}

bool PackedSource::refill() {
  if (input_.empty()) input_ = std::span(chunk_).first(file_->read(chunk_));
  return !input_.empty();
}

std::size_t PackedSource::read(std::span<char> out) {
  if (damage_ != nullptr) std::rethrow_exception(damage_);
  try {
    return unpack(out);
  } catch (const DamagedFileError&) {
    if (num_unpacked_ == 0) throw;
    damage_ = std::current_exception();
    return num_unpacked_;
  }
}

void PackedSource::damaged(const char* reason, std::size_t num_unpacked) {
  num_unpacked_ = num_unpacked;
  throw DamagedFileError(fmt::format(
      "{}: damaged {} data near byte {}: {}. Fetch or pack the file again; if it is not "
      "packed, correct its name",
      file_->path().string(), kind_, position(), reason));
}

void PackedSource::cut_off(std::size_t num_unpacked) {
  num_unpacked_ = num_unpacked;
  throw DamagedFileError(
      fmt::format("{}: the {} data ends too early: the file is cut off. Fetch or pack it again",
                  file_->path().string(), kind_));
}

namespace {

std::unique_ptr<ByteSource> unpacked(std::unique_ptr<InputFile> file) {
  Packing packing = packing_of(file->peek(kPackingBytes));
  if (packing == Packing::none) packing = kind_of_name(file->path()).packing;
  switch (packing) {
    case Packing::gzip:
      return unpack_gzip(std::move(file));
    case Packing::bzip2:
      return unpack_bzip2(std::move(file));
    case Packing::xz:
      return unpack_xz(std::move(file));
    case Packing::zstd:
      return unpack_zstd(std::move(file));
    case Packing::none:
      break;
  }
  return std::make_unique<PlainSource>(std::move(file));
}

}  // namespace

std::unique_ptr<ByteSource> ByteSource::open(const std::filesystem::path& path) {
  return unpacked(std::make_unique<InputFile>(path));
}

std::unique_ptr<ByteSource> ByteSource::open(const std::filesystem::path& path, std::uint64_t begin,
                                             std::uint64_t end) {
  return unpacked(std::make_unique<InputFile>(path, begin, end));
}

}  // namespace espalier::io
