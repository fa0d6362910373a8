#include <catch2/catch.hpp>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "io/text_parts.hpp"
#include "packing.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using espalier::io::TextPart;
using espalier::io::TextSource;
using espalier::testing::gzip;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;
using espalier::testing::zstd;
using Texts = std::vector<std::string>;

namespace {

Texts read_part(const std::filesystem::path& path, const TextSource::Options& options,
                TextPart part = {}) {
  TextSource source(path, options, part);
  Texts documents;
  for (std::string document; source.next(document);) documents.push_back(document);
  return documents;
}

Texts read_parts(const std::filesystem::path& path, const TextSource::Options& options,
                 const std::vector<TextPart>& parts) {
  Texts all;
  for (const TextPart& part : parts)
    for (std::string& document : read_part(path, options, part)) all.push_back(std::move(document));
  return all;
}

}  // namespace

TEST_CASE("The parts of a plain text have its documents, each once, wherever it is cut",
          "[text_parts]") {
  const ScratchFolder folder;
  const auto path = folder / "a.txt";
  const RandomStream random(1, "text");
  std::uint64_t next = 0;
  for (const std::string separator : {"\n", "\n\n", "\n\n\n", "aba"}) {
    for (int text_number = 0; text_number < 6; ++text_number) {
      // Two letters, so that separators overlap themselves in long runs.
      std::string text;
      while (text.size() < 30) text += random.uniform(next++) < 0.6 ? separator[0] : 'b';
      write_file(path, text);
      const TextSource::Options options{.separator = separator};
      const Texts whole = read_part(path, options);
      for (std::uint64_t first = 1; first < text.size(); ++first)
        for (std::uint64_t second = first; second < text.size(); second += 5) {
          INFO(separator << "|" << text << "|" << first << " " << second);
          CHECK(read_parts(path, options, {{0, first}, {first, second}, {second, text.size()}}) ==
                whole);
        }
    }
  }
}

TEST_CASE("The parts of a Zstandard file have its lines, wherever its frames begin",
          "[text_parts]") {
  const ScratchFolder folder;
  const auto path = folder / "a.jsonl.zst";
  const std::string text =
      "{\"text\": \"one\"}\n\n{\"text\": \"a second, longer line\"}\n{\"text\": \"three\"}\n"
      "{\"text\": \"the end\"}";
  const Texts lines{"one", "a second, longer line", "three", "the end"};
  for (std::size_t first = 1; first < text.size(); ++first)
    for (std::size_t second = first + 1; second < text.size(); second += 7) {
      const std::string a = zstd(text.substr(0, first));
      const std::string b = zstd(text.substr(first, second - first));
      const std::string c = zstd(text.substr(second));
      write_file(path, a + b + c);
      INFO(first << " " << second);
      CHECK(read_parts(path, {},
                       {{0, a.size()},
                        {a.size(), a.size() + b.size()},
                        {a.size() + b.size(), a.size() + b.size() + c.size()}}) == lines);
    }
}

TEST_CASE("A bad line of a part is named by its number in the file", "[text_parts]") {
  const ScratchFolder folder;
  const std::string good = "{\"text\": \"fine\"}\n";
  const auto message = [&](const std::string& name, TextPart part) {
    try {
      read_part(folder / name, {}, part);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string text = good + good + good + "[1]\n" + good;
  write_file(folder / "a.jsonl", text);
  CHECK_THAT(message("a.jsonl", {good.size() + 1, text.size()}), Contains("a.jsonl:4:"));
  CHECK(message("a.jsonl", {0, 2 * good.size()}).empty());
  const std::string first = zstd(good + "{\"te"),
                    second = zstd("xt\": \"fine\"}\n" + good + "[1]\n");
  write_file(folder / "a.jsonl.zst", first + second);
  CHECK_THAT(message("a.jsonl.zst", {first.size(), first.size() + second.size()}),
             Contains("a.jsonl.zst:4:"));
}

TEST_CASE("Files are cut where that can be done exactly", "[text_parts]") {
  const ScratchFolder folder;
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "{\"text\": \"line " + std::to_string(i) + "\"}\n";
  write_file(folder / "a.jsonl", lines);
  write_file(folder / "a.txt", lines);
  write_file(folder / "a.jsonl.gz", gzip(lines));
  write_file(folder / "one.jsonl.zst", zstd(lines));
  std::string frames;
  for (std::size_t at = 0; at < lines.size(); at += 1000) frames += zstd(lines.substr(at, 1000));
  write_file(folder / "many.jsonl.zst", frames);
  const auto num_parts = [&](const char* name, std::string separator = "") {
    const TextSource::Options options{.separator = std::move(separator)};
    const std::vector<TextPart> parts = io::cut_text(folder / name, options, 2000);
    if (parts.size() > 1) {
      CHECK(parts.front().begin == 0);
      CHECK(parts.back().end == std::filesystem::file_size(folder / name));
      for (std::size_t i = 1; i < parts.size(); ++i) CHECK(parts[i].begin == parts[i - 1].end);
      // A reader of a part need not search for the first document.
      if (const char* end = std::string_view(name).ends_with(".jsonl") ? "\n" : nullptr)
        for (const TextPart& part : parts)
          CHECK(io::document_border(folder / name, end, part.begin) == part.begin);
    }
    CHECK(read_parts(folder / name, options, parts) == read_part(folder / name, options));
    return parts.size();
  };
  CHECK(num_parts("a.jsonl") == lines.size() / 2000);
  CHECK(num_parts("a.txt", "\n") == lines.size() / 2000);
  CHECK(num_parts("a.txt") == 1);  // one document
  CHECK(num_parts("a.jsonl.gz") == 1);
  CHECK(num_parts("one.jsonl.zst") == 1);
  CHECK(num_parts("many.jsonl.zst") > 3);
  write_file(folder / "many.jsonl.zst", frames.substr(0, frames.size() - 3));
  CHECK(io::cut_text(folder / "many.jsonl.zst", {}, 2000).size() == 1);  // damaged: read to there
}
