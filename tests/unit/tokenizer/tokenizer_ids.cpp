// tokenizer_ids <tokenizer> <input> <output> [<decoded>]: encodes each document of a file of
// documents and writes the ids, for comparison with another program. Input: per document a u32
// number of bytes and the bytes; output: per document a u32 number of ids and the ids; decoded: the
// text of those ids, laid out as the input. Prints the time of the encoding alone and how much of
// it a processor had, first with an empty cache of words and then with a warm one.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <span>

#include "base/error.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

void write_text(std::ofstream& out, const std::string& text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  out.write(reinterpret_cast<const char*>(&size), sizeof size);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

int run(const char* tokenizer_file, const char* input, const char* output, const char* decoded) {
  const auto tokenizer = espalier::tokenizer::Tokenizer::from_file(tokenizer_file);
  std::ifstream in(input, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::string_view> documents;
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    std::uint32_t size = 0;
    std::memcpy(&size, bytes.data() + at, 4);
    documents.push_back(std::string_view(bytes).substr(at + 4, size));
    at += 4 + size;
  }
  std::vector<std::uint32_t> ids, all;
  auto scratch = tokenizer.make_scratch();
  for (const char* pass : {"cold", "warm"}) {
    all.clear();
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t start_of_processor = std::clock();
    for (const std::string_view document : documents) {
      ids.clear();
      tokenizer.encode(document, ids, *scratch);
      all.push_back(static_cast<std::uint32_t>(ids.size()));
      all.insert(all.end(), ids.begin(), ids.end());
    }
    const double processor_s =
        static_cast<double>(std::clock() - start_of_processor) / CLOCKS_PER_SEC;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double megabytes =
        (static_cast<double>(bytes.size()) - 4.0 * static_cast<double>(documents.size())) / 1e6;
    std::printf("%s: %.1f MB in %.5f s, %.1f MB/s, processor %.5f s\n", pass, megabytes,
                seconds.count(), megabytes / seconds.count(), processor_s);
  }
  std::ofstream out(output, std::ios::binary);
  out.write(reinterpret_cast<const char*>(all.data()),
            static_cast<std::streamsize>(4 * all.size()));
  if (decoded != nullptr) {
    std::ofstream texts(decoded, std::ios::binary);
    for (std::size_t at = 0; at < all.size(); at += 1 + all[at])
      write_text(texts, tokenizer.decode(std::span(all).subspan(at + 1, all[at])));
  }
  std::printf("%s %zu ids\n", tokenizer.identity().c_str(), all.size() - documents.size());
  return out.good() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 64;
  try {
    return run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : nullptr);
  } catch (const espalier::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.status());
  }
}
