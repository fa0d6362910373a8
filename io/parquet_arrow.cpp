// The library that reads Parquet (io/parquet_reader.hpp): the one file that sees Arrow.
#include "io/parquet_reader.hpp"

#include <parquet/column_reader.h>
#include <parquet/file_reader.h>
#include <parquet/schema.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "io/byte_source.hpp"

namespace espalier::io {
namespace {

using FileReader = parquet::ParquetFileReader;
using TextReader = parquet::ByteArrayReader;

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& problem) {
  throw DamagedFileError(
      fmt::format("{}: {}. Fetch or write the file again", path.string(), problem));
}

std::unique_ptr<FileReader> open_file(const std::filesystem::path& path) {
  std::error_code error;
  require(std::filesystem::is_regular_file(path, error), ExitStatus::bad_data,
          "{}: there is no such file", path.string());
  parquet::ReaderProperties properties;
  // Else a whole column chunk is read before its first page is unpacked.
  properties.enable_buffered_stream();
  properties.set_buffer_size(1 << 20);
  properties.set_page_checksum_verification(true);
  try {
    return FileReader::OpenFile(path.string(), false, properties);
  } catch (const std::exception& exception) {
    damaged(path, fmt::format("cannot be read as Parquet: {}", exception.what()));
  }
}

// Columns -----------------------------------------------------------------------------------------

bool is_text(const parquet::ColumnDescriptor& column) {
  if (column.physical_type() != parquet::Type::BYTE_ARRAY || column.max_repetition_level() > 0)
    return false;
  const auto& type = column.logical_type();
  return type == nullptr || type->is_none() || type->is_string() || type->is_enum() ||
         type->is_JSON();
}

std::string describe(const parquet::ColumnDescriptor& column) {
  const auto& type = column.logical_type();
  const bool has_name = type != nullptr && !type->is_none();
  return column.path()->ToDotString() + " (" +
         (column.max_repetition_level() > 0 ? "in a list, " : "") +
         (has_name ? type->ToString() : parquet::TypeToString(column.physical_type())) + ")";
}

/// "id (INT64), meta.text (String)".
std::string list_columns(const parquet::SchemaDescriptor& schema) {
  constexpr int kMostShown = 40;
  std::string names;
  for (int c = 0; c < std::min(schema.num_columns(), kMostShown); ++c)
    names += (c == 0 ? "" : ", ") + describe(*schema.Column(c));
  if (schema.num_columns() > kMostShown)
    names += fmt::format(" and {} more", schema.num_columns() - kMostShown);
  return names;
}

/// The column of this name. `parameter` is the one that names it.
int find_column(const std::filesystem::path& path, const parquet::SchemaDescriptor& schema,
                const std::string& key, const char* parameter) {
  std::vector<int> found;
  bool is_group = false;
  for (int c = 0; c < schema.num_columns(); ++c) {
    const std::string name = schema.Column(c)->path()->ToDotString();
    if (name == key) found.push_back(c);
    is_group |= name.starts_with(key + ".");
  }
  const char* problem = found.size() > 1            ? "is the name of several columns"
                        : found.empty() && is_group ? "has other columns in it: name one"
                        : found.empty()             ? "is no column"
                        : !is_text(*schema.Column(found.front())) ? "is no text"
                                                                  : nullptr;
  require(problem == nullptr, ExitStatus::bad_data, "{}: \"{}\" {}; there are {}. Set {}",
          path.string(), key, problem == nullptr ? "" : problem, list_columns(schema), parameter);
  return found.front();
}

struct Columns {
  std::vector<int> texts;
  std::optional<int> source;
};

Columns find_columns(const std::filesystem::path& path, const parquet::SchemaDescriptor& schema,
                     const ParquetSource::Options& options) {
  Columns columns;
  for (const std::string& key : options.text_keys)
    columns.texts.push_back(find_column(path, schema, key, "tokenize.text_key"));
  if (!options.source_key.empty())
    columns.source = find_column(path, schema, options.source_key, "tokenize.source_key");
  return columns;
}

/// The texts of one column in one row group, a batch at a time. They lie in the reader's page, and
/// are valid until the next batch.
class Column {
 public:
  Column(std::shared_ptr<parquet::ColumnReader> reader)
      : reader_(std::move(reader)),
        typed_(static_cast<TextReader*>(reader_.get())),
        full_level_(reader_->descr()->max_definition_level()) {}

  /// The next row's; nothing: null.
  std::optional<std::string_view> next() {
    if (level_ == num_levels_) read();
    if (levels_[static_cast<std::size_t>(level_++)] != full_level_) return std::nullopt;
    require_more(value_ < num_values_);
    const parquet::ByteArray& text = values_[static_cast<std::size_t>(value_++)];
    return std::string_view(reinterpret_cast<const char*>(text.ptr), text.len);
  }

 private:
  static constexpr std::size_t kBatch = 128;

  static void require_more(bool has_more) {
    if (!has_more) throw parquet::ParquetException("a column ends before its last row");
  }
  void read() {
    require_more(reader_->HasNext());
    levels_.fill(full_level_);  // a column that has no nulls has no levels
    num_levels_ = typed_->ReadBatch(kBatch, levels_.data(), nullptr, values_.data(), &num_values_);
    level_ = value_ = 0;
    require_more(num_levels_ > 0);
  }

  std::shared_ptr<parquet::ColumnReader> reader_;
  TextReader* typed_;
  std::int16_t full_level_;  // a smaller one: the field is null, or something that it is in
  std::array<std::int16_t, kBatch> levels_{};
  std::array<parquet::ByteArray, kBatch> values_{};
  std::int64_t num_levels_ = 0, level_ = 0;
  std::int64_t num_values_ = 0, value_ = 0;
};

/// Of all columns, whatever their order: a row group is not told where it begins.
std::uint64_t begin_of(const parquet::RowGroupMetaData& group) {
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  for (int c = 0; c < group.num_columns(); ++c) {
    const auto chunk = group.ColumnChunk(c);
    begin = std::min(begin, chunk->data_page_offset());
    if (chunk->has_dictionary_page() && chunk->dictionary_page_offset() > 0)
      begin = std::min(begin, chunk->dictionary_page_offset());
  }
  return static_cast<std::uint64_t>(std::max<std::int64_t>(begin, 0));
}

std::vector<ParquetSource::RowGroup> row_groups_of(const std::filesystem::path& path,
                                                   const parquet::FileMetaData& metadata,
                                                   const std::vector<int>& texts) {
  std::vector<ParquetSource::RowGroup> groups;
  for (int g = 0; g < metadata.num_row_groups(); ++g) {
    const auto group = metadata.RowGroup(g);
    ParquetSource::RowGroup described{.begin = begin_of(*group),
                                      .num_rows = static_cast<std::uint64_t>(group->num_rows())};
    for (const int c : texts)
      described.bytes +=
          static_cast<std::uint64_t>(group->ColumnChunk(c)->total_uncompressed_size());
    if (!groups.empty() && described.begin < groups.back().begin)
      damaged(path, fmt::format("row group {} begins before the one before", g));
    groups.push_back(described);
  }
  return groups;
}

/// What the library throws, as an Error that names the file.
template <class Action>
auto guarded(const std::filesystem::path& path, Action&& action) {
  try {
    return action();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& exception) {
    damaged(path, fmt::format("the Parquet file is damaged: {}", exception.what()));
  }
}

/// Reads row groups one after another.
class ArrowReader final : public ParquetReader {
 public:
  ArrowReader(std::filesystem::path path, const ParquetSource::Options& options, TextPart part);
  bool next(std::string& document) override;
  const std::string& source() const override { return source_; }
  const ParquetCounts& counts() const override { return counts_; }
  std::uint64_t position() const override;

 private:
  bool open_next_group();
  bool read_row(std::string& document);
  std::uint64_t begin_of_group(std::size_t group) const {
    return group < end_group_ ? groups_[group].begin : end_;
  }

  std::filesystem::path path_;
  std::unique_ptr<FileReader> file_;
  Columns columns_;
  std::vector<ParquetSource::RowGroup> groups_;  // of the whole file
  std::size_t end_group_ = 0, next_group_ = 0;
  std::uint64_t end_ = 0;  // of the last row group, about: the footer is behind it
  // Of the row group that is being read.
  std::vector<Column> texts_;
  std::optional<Column> sources_;
  std::uint64_t row_ = 0, num_rows_ = 0;
  std::string source_;
  ParquetCounts counts_;
};

ArrowReader::ArrowReader(std::filesystem::path path, const ParquetSource::Options& options,
                         TextPart part)
    : path_(std::move(path)), file_(open_file(path_)) {
  guarded(path_, [&] {
    const auto metadata = file_->metadata();
    columns_ = find_columns(path_, *metadata->schema(), options);
    groups_ = row_groups_of(path_, *metadata, columns_.texts);
  });
  const auto first_from = [&](std::uint64_t position) {
    const auto found = std::partition_point(
        groups_.begin(), groups_.end(), [&](const auto& group) { return group.begin < position; });
    return static_cast<std::size_t>(found - groups_.begin());
  };
  next_group_ = first_from(part.begin);
  end_group_ = first_from(part.end);
  end_ = std::min<std::uint64_t>(part.end, std::filesystem::file_size(path_));
}

/// False after the last.
bool ArrowReader::open_next_group() {
  row_ = num_rows_ = 0;
  texts_.clear();
  sources_.reset();
  if (next_group_ >= end_group_) return false;
  const auto reader = file_->RowGroup(static_cast<int>(next_group_));
  for (const int column : columns_.texts) texts_.emplace_back(reader->Column(column));
  if (columns_.source) sources_.emplace(reader->Column(*columns_.source));
  num_rows_ = groups_[next_group_++].num_rows;
  return true;
}

/// Whether the row has a text.
bool ArrowReader::read_row(std::string& document) {
  document.clear();
  for (Column& column : texts_) {
    const auto text = column.next();
    if (!text) ++counts_.null_texts;
    if (!text || text->empty()) continue;
    if (!document.empty()) document += '\n';
    document += *text;
  }
  if (sources_) source_ = sources_->next().value_or("");
  ++row_;
  ++counts_.rows;
  return !document.empty();
}

bool ArrowReader::next(std::string& document) {
  try {
    for (;;) {
      while (row_ == num_rows_)
        if (!open_next_group()) return false;
      if (read_row(document)) return true;
      ++counts_.empty_documents;
    }
  } catch (const std::exception& exception) {
    damaged(path_, fmt::format("row group {} is damaged at row {}: {}",
                               next_group_ == 0 ? 0 : next_group_ - 1, row_, exception.what()));
  }
}

std::uint64_t ArrowReader::position() const {
  if (row_ == 0) return begin_of_group(next_group_);
  const std::uint64_t begin = begin_of_group(next_group_ - 1);
  const double share = static_cast<double>(row_) / static_cast<double>(num_rows_);
  return begin + static_cast<std::uint64_t>(
                     share * static_cast<double>(begin_of_group(next_group_) - begin));
}

std::vector<ParquetSource::RowGroup> row_groups(const std::filesystem::path& path,
                                                const ParquetSource::Options& options) {
  const auto file = open_file(path);
  return guarded(path, [&] {
    const auto metadata = file->metadata();
    return row_groups_of(path, *metadata, find_columns(path, *metadata->schema(), options).texts);
  });
}

}  // namespace

const ParquetLibrary* espalier_parquet_library() {
  static constexpr ParquetLibrary kLibrary = {
      .row_groups = row_groups,
      .open = [](const std::filesystem::path& path, ParquetSource::Options options,
                 TextPart part) -> std::unique_ptr<ParquetReader> {
        return std::make_unique<ArrowReader>(path, options, part);
      }};
  return &kLibrary;
}

}  // namespace espalier::io
