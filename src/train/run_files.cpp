#include "train/run_files.hpp"

#include <fstream>
#include <system_error>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::train {

std::vector<std::string> missing_inputs(const config::Parameters& p) {
  std::vector<std::string> sentences;
  const auto look_for = [&](const std::string& key, const std::string& path) {
    std::error_code ignored;
    if (!path.empty() && !std::filesystem::exists(path, ignored))
      sentences.push_back(fmt::format("{} = \"{}\" is not there", key, path));
  };
  look_for("data.tokenizer", p.data.tokenizer);
  look_for("data.train", p.data.train);
  for (std::size_t i = 0; i < p.data.sources.size(); ++i)
    look_for(fmt::format("data.sources[{}].train", i), p.data.sources[i].train);
  look_for("data.validation", p.data.validation);
  return sentences;
}

void require_writable(const std::filesystem::path& directory) {
  std::filesystem::path folder = std::filesystem::absolute(directory);
  while (!std::filesystem::exists(folder)) folder = folder.parent_path();
  const std::filesystem::path probe = folder / ".espalier-write-test";
  const bool ok = std::filesystem::is_directory(folder) && std::ofstream(probe).good();
  std::error_code ignored;
  std::filesystem::remove(probe, ignored);
  require(ok, ExitStatus::io_error,
          "output.directory = \"{}\": cannot write in {}; choose another place or change its "
          "permissions",
          directory.string(), folder.string());
}

void require_inputs(const config::Parameters& p) {
  std::string text;
  for (const std::string& sentence : missing_inputs(p))
    text += (text.empty() ? "" : "\n") + sentence;
  if (!text.empty()) throw Error(ExitStatus::bad_data, text, Met::by_every_rank);
}

std::unique_ptr<io::RunLock> lock_run_directory(parallel::MpiSession& session,
                                                const config::Parameters& parameters) {
  const activity::Scope taking("taking the run directory");
  std::unique_ptr<io::RunLock> lock;
  parallel::on_rank_0(session, [&] {
    require_inputs(parameters);
    lock = std::make_unique<io::RunLock>(parameters.output.directory);
    return std::string();
  });
  return lock;
}

}  // namespace espalier::train
