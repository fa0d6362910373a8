#include "commands/text_documents.hpp"

#include <cstring>

#include "base/error.hpp"
#include "parallel/on_rank_0.hpp"
#include "commands/tokenize_input.hpp"
#include "io/input_file.hpp"

namespace espalier::commands {
namespace {

std::vector<std::string> read_all(const std::string& path, const config::TokenizeParameters& how) {
  io::TextSource source(path, text_options(how));
  std::vector<std::string> documents;
  for (std::string document; source.next(document);) documents.push_back(std::move(document));
  return documents;
}

/// Texts as one: the length of each, and the text.
std::string packed(const std::vector<std::string>& documents) {
  std::string result;
  for (const std::string& document : documents) {
    const std::uint64_t size = document.size();
    result.append(reinterpret_cast<const char*>(&size), sizeof size);
    result += document;
  }
  return result;
}

std::vector<std::string> unpacked(std::string_view text) {
  std::vector<std::string> documents;
  while (!text.empty()) {
    std::uint64_t size = 0;
    std::memcpy(&size, text.data(), sizeof size);
    documents.emplace_back(text.substr(sizeof size, size));
    text.remove_prefix(sizeof size + size);
  }
  return documents;
}

}  // namespace

std::vector<std::string> read_documents(parallel::MpiSession& session, const std::string& path,
                                        const config::TokenizeParameters& how) {
  const bool stream = io::is_stream(path);
  std::vector<std::string> documents;
  if (stream && session.size() > 1) {
    documents = unpacked(on_rank_0(session, [&] { return packed(read_all(path, how)); }));
  } else {
    if (!stream)
      on_rank_0(session, [&] {  // one message, not one a rank
        const io::TextSource opened(path, text_options(how));
        return std::string();
      });
    documents = read_all(path, how);
  }
  if (documents.empty())
    throw Error(ExitStatus::bad_data, fmt::format("{}: holds no text", path), Met::by_every_rank);
  return documents;
}

}  // namespace espalier::commands
