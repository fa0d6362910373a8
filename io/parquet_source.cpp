#include "io/parquet_source.hpp"

#include <dlfcn.h>

#include "base/error.hpp"
#include "io/parquet_reader.hpp"

namespace espalier::io {
namespace {

constexpr const char* kRemedy =
    "; or write its text as JSON lines (with pandas: frame.to_json(\"x.jsonl\", "
    "orient=\"records\", lines=True))";

/// What was found at the first question.
struct Loaded {
  const ParquetLibrary* library = nullptr;
  std::string problem;  ///< without the file's name; empty: there is a library
};

Loaded load() {
#ifdef ESPALIER_PARQUET_LIBRARY
  // Beside a program that was copied, else where it was built.
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path built = ESPALIER_PARQUET_LIBRARY;
  std::string problem;
  for (const auto& path : {program.parent_path() / built.filename(), built}) {
    if (!std::filesystem::exists(path, error)) continue;
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* function = handle == nullptr ? nullptr : ::dlsym(handle, kParquetLibraryFunction);
    if (function != nullptr)
      return {.library = reinterpret_cast<decltype(&espalier_parquet_library)>(function)(),
              .problem = ""};
    problem = ::dlerror();
  }
  return {.library = nullptr,
          .problem = fmt::format(
              "holds Parquet, and the library that reads it cannot be loaded: {}. Build it again "
              "where jobscripts/fetch-arrow.sh was run, or copy it and build/_arrow, too{}",
              problem.empty() ? built.string() + " is not there" : problem, kRemedy)};
#else
  return {.library = nullptr,
          .problem = fmt::format(
              "holds Parquet, and this program was built without Apache Arrow, which reads it. Run "
              "jobscripts/fetch-arrow.sh, configure (cmake --preset release) and build again{}",
              kRemedy)};
#endif
}

const Loaded& loaded() {
  static const Loaded found = load();
  return found;
}

const ParquetLibrary& library_for(const std::filesystem::path& path) {
  require(loaded().library != nullptr, ExitStatus::bad_data, "{}: {}", path.string(),
          loaded().problem);
  return *loaded().library;
}

}  // namespace

bool ParquetSource::is_available() {
  return loaded().library != nullptr;
}

std::string ParquetSource::why_not_available() {
  return loaded().problem;
}

std::vector<ParquetSource::RowGroup> ParquetSource::row_groups(const std::filesystem::path& path,
                                                               const Options& options) {
  return library_for(path).row_groups(path, options);
}

ParquetSource::ParquetSource(const std::filesystem::path& path, Options options, TextPart part)
    : reader_(library_for(path).open(path, std::move(options), part)) {}

ParquetSource::ParquetSource(ParquetSource&&) noexcept = default;
ParquetSource::~ParquetSource() = default;

bool ParquetSource::next(std::string& document) {
  return reader_->next(document);
}

const std::string& ParquetSource::source() const {
  return reader_->source();
}

const ParquetCounts& ParquetSource::counts() const {
  return reader_->counts();
}

std::uint64_t ParquetSource::position() const {
  return reader_->position();
}

}  // namespace espalier::io
