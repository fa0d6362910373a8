#include "io/parquet_source.hpp"

#include <parquet/column_reader.h>
#include <parquet/file_reader.h>
#include <parquet/schema.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <string_view>

#include "base/error.hpp"

namespace espalier::io {
namespace {

using FileReader = parquet::ParquetFileReader;
using TextReader = parquet::ByteArrayReader;

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
    fail(ExitStatus::bad_data, "{}: cannot be read as Parquet: {}", path.string(),
         exception.what());
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

std::vector<int> find_columns(const std::filesystem::path& path,
                              const parquet::SchemaDescriptor& schema,
                              const std::vector<std::string>& keys) {
  std::vector<int> columns;
  for (const std::string& key : keys) {
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
    require(problem == nullptr, ExitStatus::bad_data, "{}: \"{}\" {}; there are {}", path.string(),
            key, problem == nullptr ? "" : problem, list_columns(schema));
    columns.push_back(found.front());
  }
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

std::vector<ParquetSource::RowGroup> row_groups_of(const parquet::FileMetaData& metadata,
                                                   const std::vector<int>& columns) {
  std::vector<ParquetSource::RowGroup> groups;
  for (int g = 0; g < metadata.num_row_groups(); ++g) {
    const auto group = metadata.RowGroup(g);
    ParquetSource::RowGroup sizes{.num_rows = static_cast<std::uint64_t>(group->num_rows())};
    for (const int c : columns) {
      const auto chunk = group->ColumnChunk(c);
      sizes.packed_bytes += static_cast<std::uint64_t>(chunk->total_compressed_size());
      sizes.bytes += static_cast<std::uint64_t>(chunk->total_uncompressed_size());
    }
    groups.push_back(sizes);
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
    fail(ExitStatus::bad_data, "{}: the Parquet file is damaged: {}", path.string(),
         exception.what());
  }
}

}  // namespace

struct ParquetSource::Implementation {
  std::filesystem::path path;
  Options options;
  std::unique_ptr<FileReader> file;
  std::vector<int> columns;
  std::vector<RowGroup> groups;  // of the whole file
  std::size_t end_group = 0, next_group = 0;
  std::vector<Column> open;  // of the row group that is being read
  std::uint64_t row = 0, num_rows = 0;
  std::uint64_t position = 0;  // of the row groups before that
  ParquetCounts counts;

  bool open_next_group();
  bool read_row(std::string& document);
};

/// False after the last.
bool ParquetSource::Implementation::open_next_group() {
  if (num_rows > 0) position += groups[next_group - 1].packed_bytes;
  row = num_rows = 0;
  open.clear();
  if (next_group >= end_group) return false;
  const auto reader = file->RowGroup(static_cast<int>(next_group));
  for (const int column : columns) open.emplace_back(reader->Column(column));
  num_rows = groups[next_group++].num_rows;
  return true;
}

/// Whether the row has a text.
bool ParquetSource::Implementation::read_row(std::string& document) {
  document.clear();
  for (Column& column : open) {
    const auto text = column.next();
    if (!text) ++counts.null_texts;
    if (!text || text->empty()) continue;
    if (!document.empty()) document += options.joint;
    document += *text;
  }
  ++row;
  ++counts.rows;
  return !document.empty();
}

bool ParquetSource::is_available() {
  return true;
}

std::vector<ParquetSource::RowGroup> ParquetSource::row_groups(const std::filesystem::path& path,
                                                               const Options& options) {
  const auto file = open_file(path);
  return guarded(path, [&] {
    const auto metadata = file->metadata();
    return row_groups_of(*metadata, find_columns(path, *metadata->schema(), options.text_keys));
  });
}

ParquetSource::ParquetSource(const std::filesystem::path& path, Options options,
                             int first_row_group, int num_row_groups)
    : implementation_(std::make_unique<Implementation>()) {
  ESPALIER_ASSERT(first_row_group >= 0 && num_row_groups >= 0);
  Implementation& self = *implementation_;
  self.path = path;
  self.options = std::move(options);
  self.file = open_file(path);
  guarded(path, [&] {
    const auto metadata = self.file->metadata();
    self.columns = find_columns(path, *metadata->schema(), self.options.text_keys);
    self.groups = row_groups_of(*metadata, self.columns);
    self.next_group = std::min(static_cast<std::size_t>(first_row_group), self.groups.size());
    self.end_group =
        std::min(self.next_group + static_cast<std::size_t>(num_row_groups), self.groups.size());
  });
}

ParquetSource::ParquetSource(ParquetSource&&) noexcept = default;
ParquetSource::~ParquetSource() = default;

bool ParquetSource::next(std::string& document) {
  Implementation& self = *implementation_;
  try {
    for (;;) {
      while (self.row == self.num_rows)
        if (!self.open_next_group()) return false;
      if (self.read_row(document)) return true;
      ++self.counts.empty_documents;
    }
  } catch (const std::exception& exception) {
    fail(ExitStatus::bad_data, "{}: row group {} is damaged at row {}: {}", self.path.string(),
         self.next_group == 0 ? 0 : self.next_group - 1, self.row, exception.what());
  }
}

const ParquetCounts& ParquetSource::counts() const {
  return implementation_->counts;
}

std::uint64_t ParquetSource::packed_position() const {
  const Implementation& self = *implementation_;
  if (self.row == 0) return self.position;
  const double share = static_cast<double>(self.row) / static_cast<double>(self.num_rows);
  return self.position +
         static_cast<std::uint64_t>(
             share * static_cast<double>(self.groups[self.next_group - 1].packed_bytes));
}

}  // namespace espalier::io
