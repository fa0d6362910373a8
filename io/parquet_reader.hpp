#pragma once
#include "io/parquet_source.hpp"

// Between ParquetSource and the library that reads through Apache Arrow (io/parquet_arrow.cpp),
// which is loaded by the first Parquet file: a program that meets none neither needs Arrow's 60 MB
// nor loads them.

namespace espalier::io {

/// As the functions of ParquetSource.
class ParquetReader {
 public:
  virtual ~ParquetReader() = default;
  virtual bool next(std::string& document) = 0;
  virtual const std::string& source() const = 0;
  virtual const ParquetCounts& counts() const = 0;
  virtual std::uint64_t position() const = 0;
};

struct ParquetLibrary {
  std::vector<ParquetSource::RowGroup> (*row_groups)(const std::filesystem::path& path,
                                                     const ParquetSource::Options& options);
  std::unique_ptr<ParquetReader> (*open)(const std::filesystem::path& path,
                                         ParquetSource::Options options, TextPart part);
};

/// The one function that is looked up in the library.
extern "C" const ParquetLibrary* espalier_parquet_library();
inline constexpr const char* kParquetLibraryFunction = "espalier_parquet_library";

}  // namespace espalier::io
