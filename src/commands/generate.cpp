#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>

#include <fmt/ranges.h>

#include "base/log.hpp"
#include "commands/commands.hpp"
#include "inference/generation.hpp"
#include "inference/prompts.hpp"
#include "inference/trained_model.hpp"
#include "io/json_text.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::commands {
namespace {

/// The prompts, the same on every rank: of the file, or the one of generate.prompt.
std::vector<inference::Prompt> all_prompts(const config::Parameters& p,
                                           parallel::MpiSession& session) {
  const std::vector<std::string>& key = p.tokenize.text_key;
  if (const std::string& file = p.generate.prompts; !file.empty()) {
    // A stream is there once, and what is wrong with a file is told once.
    const std::string text =
        parallel::on_rank_0(session, [&] { return inference::read_prompt_file(file, key); });
    return inference::prompts_of_file(file, text, key);
  }
  if (p.generate.prompt != "-") return {{p.generate.prompt}};
  return {{parallel::on_rank_0(session, [] {
    return inference::prompt_of_stream(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  })}};
}

void print(std::string_view text) {
  if (log::rank() != 0) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ExitStatus::io_error, "standard output cannot be written: {}", std::strerror(errno));
}

/// A person reads a text as it grows.
void answer_person(inference::TrainedModel& trained, const inference::Language& language,
                   const std::string& prompt) {
  const std::vector<std::uint32_t> prompt_ids = language.tokenizer.encode(prompt);
  std::vector<std::uint32_t> ids = language.prefix;
  ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
  if (const std::string why = inference::obstacle(trained, ids.size()); !why.empty())
    throw Error(ExitStatus::bad_configuration, why, Met::by_every_rank);
  print(language.tokenizer.decode(prompt_ids));
  bool is_first = true;
  inference::continue_text(trained, language, ids, 0, [&](std::uint32_t id) {
    print(language.tokenizer.decode({&id, 1}, prompt_ids.empty() && is_first
                                                  ? tokenizer::TextPlace::whole
                                                  : tokenizer::TextPlace::continued));
    is_first = false;
  });
  print("\n");
}

/// A program reads lines: one for every prompt, also for one that cannot be continued, which is
/// named and does not stop the others.
void answer_program(inference::TrainedModel& trained, const inference::Language& language,
                    const std::vector<inference::Prompt>& prompts) {
  const std::string& file = trained.parameters.generate.prompts;
  std::int64_t number = 0;
  std::size_t num_refused = 0;
  for (const inference::Prompt& prompt : prompts) {
    std::vector<std::uint32_t> ids = language.prefix;
    const std::vector<std::uint32_t> prompt_ids = language.tokenizer.encode(prompt.text);
    ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
    const std::string in_json = io::json_string(prompt.text);
    if (const std::string why = inference::obstacle(trained, ids.size()); !why.empty()) {
      if (log::rank() == 0) log::warn("{}:{}: {}", file, prompt.line, why);
      print(fmt::format("{{\"prompt\": {}, \"error\": {}}}\n", in_json, io::json_string(why)));
      ++num_refused;
      ++number;
      continue;
    }
    std::vector<std::uint32_t> answer;
    inference::continue_text(trained, language, ids, number++,
                             [&](std::uint32_t id) { answer.push_back(id); });
    const std::string text = language.tokenizer.decode(
        answer, prompt_ids.empty() ? tokenizer::TextPlace::whole : tokenizer::TextPlace::continued);
    print(fmt::format("{{\"prompt\": {}, \"text\": {}, \"tokens\": [{}]}}\n", in_json,
                      io::json_string(text), fmt::join(answer, ", ")));
  }
  if (num_refused > 0)
    throw Error(
        ExitStatus::bad_data,
        fmt::format("{}: {} of {} prompts were not continued", file, num_refused, prompts.size()),
        Met::by_every_rank);
}

}  // namespace

ExitStatus generate(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  inference::TrainedModel trained(session, parameters);
  const inference::Language language(trained);
  if (dry_run) return ExitStatus::ok;  // model and tokenizer can be read
  const std::vector<inference::Prompt> prompts = all_prompts(parameters, session);
  if (parameters.generate.prompts.empty())
    answer_person(trained, language, prompts.front().text);
  else
    answer_program(trained, language, prompts);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
