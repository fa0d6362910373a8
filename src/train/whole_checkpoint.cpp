#include "train/whole_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/checkpoint_files.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::train {

namespace fs = std::filesystem;

std::vector<fs::path> whole_checkpoints(parallel::MpiSession& session, const fs::path& directory,
                                        std::int64_t last_step) {
  const std::string names = parallel::on_rank_0(session, [&] {
    std::vector<io::CheckpointFolder> folders = io::list_complete(directory);
    std::reverse(folders.begin(), folders.end());
    std::string lines;
    for (const io::CheckpointFolder& folder : folders)
      if (folder.step <= last_step) lines += folder.path.filename().string() + "\n";
    return lines;
  });
  std::vector<fs::path> found;
  for (std::size_t at = 0; at < names.size(); at = names.find('\n', at) + 1)
    found.push_back(directory / names.substr(at, names.find('\n', at) - at));
  return found;
}

std::string damage_met_by_any(parallel::MpiSession& session, const std::function<void()>& read) {
  std::string mine;
  try {
    read();
  } catch (const Error& error) {
    if (error.status() != ExitStatus::bad_data) throw;
    mine = error.what();
  }
  std::array<double, 1> damaged{mine.empty() ? 0.0 : 1.0};
  session.world().all_reduce_max(damaged);
  if (damaged[0] == 0.0) return {};
  for (std::string& text : session.world().all_gather(mine))
    if (!text.empty()) return std::move(text);
  return {};
}

void set_aside(std::vector<DamagedCheckpoint>& damaged) {
  for (DamagedCheckpoint& one : damaged) {
    // A checkpoint that was being replaced has a name of its own: the step counts.
    fs::path name = one.path;
    name.replace_extension(".damaged");
    std::error_code ignored;
    for (int number = 2; fs::exists(name, ignored); ++number)
      name.replace_extension(fmt::format(".damaged-{}", number));
    io::rename_path(one.path, name);
    log::warn("{} is damaged and passed over; it is now {}. {}", one.path.string(),
              name.filename().string(), one.why);
    one.path = name;
  }
}

void fail_all_damaged(const std::vector<DamagedCheckpoint>& damaged) {
  if (damaged.size() == 1)
    throw Error(ExitStatus::bad_data,
                fmt::format("{} There is no other checkpoint. To train anew, choose another "
                            "output.directory",
                            damaged.front().why),
                Met::by_every_rank);
  std::string lines;
  for (const DamagedCheckpoint& one : damaged)
    lines += fmt::format("\n  {}: {}", one.path.filename().string(), one.why);
  throw Error(
      ExitStatus::bad_data,
      fmt::format("no checkpoint in {} can be read:{}\nNothing was changed there. Bring one "
                  "back from a copy or, to train anew, choose another output.directory",
                  damaged.front().path.parent_path().string(), lines),
      Met::by_every_rank);
}

}  // namespace espalier::train
