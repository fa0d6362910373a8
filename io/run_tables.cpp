#include "io/run_tables.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <string>

#include "base/error.hpp"
#include "base/whole_file.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

/// The fields of a row, one after another.
class Fields {
 public:
  explicit Fields(std::string_view row) : rest_(row) {}
  template <class Number>
  void read(Number& value) {
    const std::string_view field = rest_.substr(0, rest_.find(','));
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    ok_ = ok_ && error == std::errc{} && end == field.data() + field.size();
    is_last_ = field.size() == rest_.size();
    rest_.remove_prefix(is_last_ ? rest_.size() : field.size() + 1);
  }
  /// A number as it stands there.
  void read_number(std::string& digits) {
    digits = rest_.substr(0, rest_.find(','));
    double value = 0.0;
    read(value);
  }
  bool all_read() const { return ok_ && is_last_; }

 private:
  std::string_view rest_;
  bool ok_ = true, is_last_ = false;
};

ExpertColumns read_experts(Fields& fields) {
  ExpertColumns columns;
  fields.read(columns.balance_loss);
  fields.read(columns.z_loss);
  fields.read(columns.load);
  fields.read(columns.not_chosen);
  fields.read(columns.further_rounds);
  return columns;
}

template <class Row, class Read>
std::vector<Row> read_table(const fs::path& path, std::string_view header, Read read) {
  const std::optional<std::string> text = read_whole_file(path);
  if (!text) {
    if (errno == ENOENT) return {};
    fail_io("read", path, errno);
  }
  std::vector<Row> rows;
  std::string_view rest = *text;
  bool has_experts = false;
  for (std::int64_t line = 1; !rest.empty(); ++line) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;
    const std::string_view words = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line == 1) {
      has_experts = header == kHistoryHeader && words == kExpertHistoryHeader;
      require(words == header || has_experts, ExitStatus::bad_data,
              "{}: its first line is no header of a training run, which is \"{}\"", path.string(),
              header);
      continue;
    }
    Row row;
    Fields fields(words);
    read(fields, row);
    if (has_experts) {
      const ExpertColumns columns = read_experts(fields);
      if constexpr (requires { row.experts; }) row.experts = columns;
    }
    require(fields.all_read(), ExitStatus::bad_data, "{}:{}: \"{}\" is no row of the columns {}",
            path.string(), line, words, header);
    require(rows.empty() || row.step > rows.back().step, ExitStatus::bad_data,
            "{}:{}: step {} comes after step {}", path.string(), line, row.step,
            rows.empty() ? 0 : rows.back().step);
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

std::vector<HistoryRow> read_history(const fs::path& run_directory) {
  return read_table<HistoryRow>(run_directory / kHistoryName, kHistoryHeader,
                                [](Fields& fields, HistoryRow& row) {
                                  fields.read(row.step);
                                  fields.read(row.tokens);
                                  fields.read(row.loss);
                                  fields.read(row.grad_norm);
                                  fields.read(row.learning_rate);
                                  fields.read(row.tokens_per_second);
                                });
}

std::vector<HistoryWords> read_history_words(const fs::path& run_directory) {
  return read_table<HistoryWords>(
      run_directory / kHistoryName, kHistoryHeader, [](Fields& fields, HistoryWords& row) {
        fields.read(row.step);
        for (std::string* digits :
             {&row.tokens, &row.loss, &row.grad_norm, &row.learning_rate, &row.tokens_per_second})
          fields.read_number(*digits);
      });
}

std::vector<ValidationRow> read_validation(const fs::path& run_directory) {
  return read_table<ValidationRow>(run_directory / kValidationName, kValidationHeader,
                                   [](Fields& fields, ValidationRow& row) {
                                     fields.read(row.step);
                                     fields.read(row.loss);
                                     fields.read(row.bits_per_byte);
                                   });
}

double seconds_of(const std::vector<HistoryRow>& rows, std::size_t i) {
  const HistoryRow& row = rows[i];
  // The first row of a table that was begun anew has the tokens of all steps before it.
  const std::uint64_t before =
      i > 0 ? rows[i - 1].tokens
            : (row.step > 0 ? row.tokens / static_cast<std::uint64_t>(row.step) *
                                  static_cast<std::uint64_t>(row.step - 1)
                            : 0);
  if (!(row.tokens_per_second > 0.0) || row.tokens < before) return 0.0;
  return static_cast<double>(row.tokens - before) / row.tokens_per_second;
}

}  // namespace espalier::io
