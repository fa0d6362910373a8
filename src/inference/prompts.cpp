#include "inference/prompts.hpp"

#include <algorithm>
#include <stdexcept>

#include "base/error.hpp"
#include "io/byte_source.hpp"
#include "io/file_kind.hpp"
#include "io/json_text.hpp"
#include "tokenizer/unicode.hpp"

namespace espalier::inference {
namespace {

std::string read_whole(const std::filesystem::path& file) {
  const auto source = io::ByteSource::open(file);
  std::string text;
  constexpr std::size_t kAtOnce = std::size_t{1} << 18;
  for (;;) {
    const std::size_t held = text.size();
    text.resize(held + kAtOnce);
    const std::size_t count = source->read(std::span(text).subspan(held));
    text.resize(held + count);
    if (count == 0) return text;
  }
}

}  // namespace

std::vector<Prompt> prompts_of_text(const std::filesystem::path& file, std::string_view text,
                                    bool json_lines, const std::vector<std::string>& text_key) {
  text = io::without_byte_order_mark(text);
  std::vector<Prompt> prompts;
  for (std::uint64_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t\r\v\f") == line.npos) continue;
    try {
      prompts.push_back({json_lines ? io::json_text(line, text_key) : std::string(line), number});
    } catch (const std::runtime_error& error) {
      fail(ExitStatus::bad_data, "{}:{}: {}", file.string(), number, error.what());
    }
  }
  return prompts;
}

std::vector<Prompt> prompts_of_file(const std::filesystem::path& file, std::string_view text,
                                    const std::vector<std::string>& text_key) {
  const io::TextFormat format =
      io::kind_of_name(file).format.value_or(io::format_of_content(text.substr(0, io::kHeadBytes)));
  return prompts_of_text(file, text, format == io::TextFormat::json_lines, text_key);
}

std::string prompt_of_stream(std::string_view text) {
  require(tokenizer::is_valid_utf8(text), ExitStatus::usage,
          "--prompt -: standard input is not UTF-8: convert it, as iconv -f LATIN1 -t UTF-8 does");
  return std::string(io::without_byte_order_mark(text));
}

std::string read_prompt_file(const std::filesystem::path& file,
                             const std::vector<std::string>& text_key) {
  const io::NamedKind kind = io::kind_of_name(file);
  require(kind.refusal.empty(), ExitStatus::bad_data, "{}: {}", file.string(), kind.refusal);
  std::string text = read_whole(file);
  const std::string foreign = io::foreign_content(std::string_view(text).substr(0, io::kHeadBytes));
  require(foreign.empty(), ExitStatus::bad_data, "{}: {}", file.string(), foreign);
  require(!prompts_of_file(file, text, text_key).empty(), ExitStatus::bad_data,
          "{}: holds no prompt", file.string());
  return text;
}

}  // namespace espalier::inference
