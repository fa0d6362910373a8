#include "tokenization/text_documents.hpp"

#include <cstring>

#include "base/error.hpp"
#include "base/stop_request.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenization/input.hpp"

namespace espalier::tokenization {
namespace {

std::vector<std::string> read_all(const std::string& path, const config::TokenizeParameters& how) {
  io::TextSource source(path, text_options(how));
  std::vector<std::string> documents;
  for (std::string document; source.next(document);) {
    require(!stop_requested(), ExitStatus::stopped_early, "stopped by a signal while reading {}",
            path);
    documents.push_back(std::move(document));
  }
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
  return unpacked(on_rank_0(session, [&] {
    const std::vector<std::string> documents = read_all(path, how);
    require(!documents.empty(), ExitStatus::bad_data, "{}: holds no text", path);
    return packed(documents);
  }));
}

EncodedText encode_documents(const std::vector<std::string>& documents,
                             const tokenizer::Tokenizer& tokenizer,
                             const train::DocumentMarks& marks,
                             const std::function<bool()>& may_go_on) {
  EncodedText result;
  std::size_t bytes_at_next_question = 0;
  const auto scratch = tokenizer.make_scratch();
  for (const std::string& document : documents) {
    if (result.num_text_bytes >= bytes_at_next_question) {
      if (!may_go_on()) break;
      bytes_at_next_question = result.num_text_bytes + kBytesBetweenQuestions;
    }
    if (result.num_documents > 0) result.ids.push_back(train::require_separator(marks, tokenizer));
    result.ids.insert(result.ids.end(), marks.begin.begin(), marks.begin.end());
    const std::size_t begin = result.ids.size();
    tokenizer.encode(document, result.ids, *scratch);
    result.num_text_bytes += document.size();
    result.num_text_ids += result.ids.size() - begin;
    ++result.num_documents;
  }
  return result;
}

}  // namespace espalier::tokenization
