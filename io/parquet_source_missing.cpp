// In place of parquet_source.cpp where there is no Arrow.
#include "base/error.hpp"
#include "io/parquet_source.hpp"

namespace espalier::io {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  fail(ExitStatus::bad_data, "{}: {}", path.string(), ParquetSource::why_not_available());
}

}  // namespace

struct ParquetSource::Implementation {
  ParquetCounts counts;
  std::string source;
};

bool ParquetSource::is_available() {
  return false;
}

std::string ParquetSource::why_not_available() {
  return "holds Parquet, and this program was built without Apache Arrow, which reads it. Run "
         "jobscripts/fetch-arrow.sh, configure (cmake --preset release) and build again; or write "
         "its text as JSON lines (with pandas: frame.to_json(\"x.jsonl\", orient=\"records\", "
         "lines=True))";
}

std::vector<ParquetSource::RowGroup> ParquetSource::row_groups(const std::filesystem::path& path,
                                                               const Options&) {
  refuse(path);
}

ParquetSource::ParquetSource(const std::filesystem::path& path, Options, TextPart) {
  refuse(path);
}
ParquetSource::ParquetSource(ParquetSource&&) noexcept = default;
ParquetSource::~ParquetSource() = default;

bool ParquetSource::next(std::string&) {
  return false;
}
const ParquetCounts& ParquetSource::counts() const {
  return implementation_->counts;
}
const std::string& ParquetSource::source() const {
  return implementation_->source;
}
std::uint64_t ParquetSource::position() const {
  return 0;
}

}  // namespace espalier::io
