#include "device/gemm_algorithm_cache.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <system_error>

#include "base/log.hpp"
#include "base/whole_file.hpp"

namespace espalier::device {
namespace {

constexpr std::size_t kDigits = 16;  // of a 64-bit word

std::string to_hex(const GemmAlgorithmCache::Algorithm& algorithm) {
  std::string text;
  for (const std::uint64_t word : algorithm) text += fmt::format("{:016x}", word);
  return text;
}

std::optional<GemmAlgorithmCache::Algorithm> from_hex(std::string_view text) {
  GemmAlgorithmCache::Algorithm algorithm{};
  if (text.size() != kDigits * algorithm.size()) return std::nullopt;
  for (std::size_t i = 0; i < algorithm.size(); ++i) {
    const char* begin = text.data() + i * kDigits;
    const auto [end, error] = std::from_chars(begin, begin + kDigits, algorithm[i], 16);
    if (error != std::errc{} || end != begin + kDigits) return std::nullopt;
  }
  return algorithm;
}

std::string as_file_name(std::string_view text) {
  std::string name(text);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-') c = '_';
  return name;
}

}  // namespace

const GemmAlgorithmCache::Algorithm* GemmAlgorithmCache::find(const GemmProblem& problem) const {
  const auto found = lines_.find(describe(problem));
  return found == lines_.end() ? nullptr : &found->second;
}

void GemmAlgorithmCache::set(const GemmProblem& problem, const Algorithm& algorithm) {
  lines_[describe(problem)] = algorithm;
}

std::string GemmAlgorithmCache::heading() const {
  return fmt::format("espalier gemm choices, {}, {}", gpu_, library_);
}

bool GemmAlgorithmCache::is_ours(std::string_view text) const {
  return text.substr(0, text.find('\n')) == heading();
}

std::string GemmAlgorithmCache::text() const {
  std::string text = heading() + '\n';
  for (const auto& [problem, algorithm] : lines_)
    text += fmt::format("{}: {}\n", problem, to_hex(algorithm));
  return text;
}

int GemmAlgorithmCache::adopt(std::string_view text) {
  if (!is_ours(text)) return 0;
  const auto next_line = [&text] {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
  };
  next_line();  // the heading
  int num_taken = 0;
  while (!text.empty()) {
    const std::string_view line = next_line();
    const auto colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    const auto problem = parse_gemm_problem(line.substr(0, colon));
    const auto algorithm = from_hex(line.substr(colon + 2));
    if (!problem || !algorithm) continue;
    set(*problem, *algorithm);
    ++num_taken;
  }
  return num_taken;
}

std::filesystem::path GemmAlgorithmCache::cache_file() const {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && cache[0] == '/')  // others are to be ignored, says the specification
    folder = cache;
  else if (home != nullptr && home[0] == '/')
    folder = std::filesystem::path(home) / ".cache";
  else
    return {};
  return folder / "espalier" /
         fmt::format("gemm-{}-{}.txt", as_file_name(gpu_), as_file_name(library_));
}

void GemmAlgorithmCache::load(const std::filesystem::path& file) {
  std::error_code error;
  if (file.empty() || !std::filesystem::exists(file, error)) return;
  const std::optional<std::string> text = read_whole_file(file);
  if (!text || !is_ours(*text))
    log::warn(
        "{} is no file of matrix product choices for this GPU and library; they are measured "
        "again",
        file.string());
  else
    adopt(*text);
}

void GemmAlgorithmCache::save(const std::filesystem::path& file) const {
  if (file.empty()) return;
  GemmAlgorithmCache all(gpu_, library_);
  all.load(file);
  all.adopt(text());
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  auto temporary = file;
  temporary += fmt::format(".{}", getpid());
  {
    std::ofstream out(temporary, std::ios::binary);
    out << all.text();
    out.close();
    if (!out) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(temporary, file, error);
  if (!error) return;
  log::warn("{} cannot be written ({}); matrix products are measured again by the next run",
            file.string(), error.message());
  std::filesystem::remove(temporary, error);
}

int choose_fastest(std::span<const double> seconds) {
  constexpr double kTolerance = 1.02;
  double best = 0.0;
  for (const double s : seconds)
    if (s > 0.0 && (best == 0.0 || s < best)) best = s;
  for (std::size_t i = 0; i < seconds.size(); ++i)
    if (seconds[i] > 0.0 && seconds[i] <= kTolerance * best) return static_cast<int>(i);
  return -1;
}

}  // namespace espalier::device
