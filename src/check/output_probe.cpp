#include "check/output_probe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <system_error>
#include <thread>

#include "base/whole_file.hpp"
#include "check/job.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::check {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string time_text(double seconds) {
  return seconds < 1.0 ? fmt::format("{:.1f} ms", 1e3 * seconds) : fmt::format("{:.1f} s", seconds);
}

void write_text(const fs::path& path, const std::string& text) {
  const fs::path other = path.string() + ".new";
  {
    io::FileDescriptor file(other, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(text.data(), text.size(), 0);
    file.flush();
  }
  io::rename_path(other, path);
}

/// Seconds until the file has this text; below 0: not in time.
double wait_for_text(const fs::path& path, const std::string& text, double patience_s) {
  const auto begin = Clock::now();
  while (read_whole_file(path) != text) {
    if (since(begin) > patience_s) return -1.0;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return since(begin);
}

/// The slowest of those who look, or one that did not see it.
struct Delay {
  double seconds = 0.0;
  std::size_t rank = 0;
};
Delay worst_of(const std::vector<double>& delays) {
  Delay worst;
  for (std::size_t rank = 0; rank < delays.size(); ++rank) {
    if (delays[rank] < 0.0) return {-1.0, rank};
    if (delays[rank] > worst.seconds) worst = {delays[rank], rank};
  }
  return worst;
}

Finding judge_delay(const char* what, const Delay& worst, const std::vector<std::string>& hosts,
                    const fs::path& folder, double patience_s) {
  constexpr double kLate = 1.0;
  if (worst.seconds < 0.0)
    return problem(
        what, ExitStatus::io_error,
        fmt::format("rank {} on {} does not see within {:.0f} s what rank 0 on {} writes in {}",
                    worst.rank, hosts[worst.rank], patience_s, hosts.front(), folder.string()),
        "set output.directory to a folder that all nodes share: a scratch or project file system, "
        "not /tmp");
  if (worst.seconds > kLate)
    return warning(what,
                   fmt::format("seen on all hosts, by rank {} on {} only after {}", worst.rank,
                               hosts[worst.rank], time_text(worst.seconds)),
                   "attributes are cached there (NFS: mount options actimeo, lookupcache): a save "
                   "and a restart take longer by such times, nothing is lost");
  const bool is_one_host = std::set(hosts.begin(), hosts.end()).size() == 1;
  return ok(what,
            fmt::format("seen {}, after at most {}",
                        is_one_host ? "by another rank (there is one host alone)" : "on all hosts",
                        time_text(worst.seconds)));
}

}  // namespace

ProbeFolder::ProbeFolder(const fs::path& parent)
    : path_(parent / fmt::format(".espalier-check-{}", ::getpid())) {
  std::error_code error;
  fs::create_directory(path_, error);
  if (error) io::fail_io("make a folder in", parent, error.value());
}

ProbeFolder::~ProbeFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path nearest_folder(const fs::path& folder) {
  std::error_code ignored;
  fs::path nearest = fs::absolute(folder);
  while (!fs::exists(nearest, ignored) && nearest != nearest.parent_path())
    nearest = nearest.parent_path();
  return nearest;
}

Finding try_writing(const fs::path& folder) {
  constexpr std::size_t kBytes = std::size_t{4} << 20;
  constexpr double kSlow = 5.0;
  const fs::path path = folder / "written", renamed = folder / "renamed";
  const std::string bytes(kBytes, 'e');
  try {
    auto begin = Clock::now();
    io::FileDescriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(bytes.data(), bytes.size(), 0);
    const double write_s = since(begin);
    begin = Clock::now();
    file.flush();
    const double flush_s = since(begin);
    begin = Clock::now();
    io::rename_path(path, renamed);
    io::flush_folder(folder);
    const double rename_s = since(begin);
    const std::string text =
        fmt::format("4 MiB written in {}, flushed (fsync) in {}, renamed in {}", time_text(write_s),
                    time_text(flush_s), time_text(rename_s));
    if (write_s + flush_s + rename_s < kSlow) return ok("writing", text);
    return warning("writing", text + ": very slow",
                   "ask whether the file system is busy or ill; checkpoints would take long");
  } catch (const Error& error) {
    return problem(
        "writing", error.status(), error.what(),
        "look at your quota (quota -s, lfs quota), and at the permissions of the folder");
  }
}

std::vector<Finding> try_visibility(parallel::MpiSession& session,
                                    const std::vector<std::string>& hosts, const fs::path& own,
                                    double patience_s) {
  parallel::Communicator& world = session.world();
  const fs::path folder = world.broadcast(own.string(), 0);
  const fs::path path = folder / "seen";
  const bool is_looking = looks_from_elsewhere(hosts, session.rank());
  std::vector<Finding> findings;
  bool goes_on = true;
  for (const bool is_first : {true, false}) {
    if (!goes_on) break;
    const std::string text = is_first ? "first" : "second, which is longer";
    // What is not there is remembered, too: a rank file appears where others have looked before.
    if (is_looking && is_first) read_whole_file(path);
    world.barrier();
    std::string wrong;
    if (session.rank() == 0) {
      try {
        write_text(path, text);
      } catch (const Error& error) {
        wrong = error.what();
      }
    }
    wrong = world.broadcast(wrong, 0);
    if (!wrong.empty()) {
      findings.push_back(problem("other hosts", ExitStatus::io_error, wrong));
      break;
    }
    const double delay = is_looking ? wait_for_text(path, text, patience_s) : 0.0;
    const Delay worst = worst_of(world.all_gather(delay));
    goes_on = worst.seconds >= 0.0;
    findings.push_back(
        judge_delay(is_first ? "a new file" : "a replaced file", worst, hosts, folder, patience_s));
  }
  return findings;
}

}  // namespace espalier::check
