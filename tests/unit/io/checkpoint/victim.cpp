// checkpoint_victim <mode> <directory>
//   save    saves the next two steps, as a restarted run would; exit status 3 when what it restarts
//           from is wrong
//   again   saves the newest step twice: each time the former one is replaced
//   limit   one save under a limit of the file size; prints the error and discards
//   full    one save on a file system of 96 KiB mounted on the directory, likewise
//   commit  likewise, but only the files of the commit find the disk full
// Exit status 77: this machine does not allow the mode.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "unit/io/checkpoint/simulated_run.hpp"

namespace {

using namespace espalier;
using namespace espalier::io;
using namespace espalier::io::testing;
namespace fs = std::filesystem;

int save_twice(const fs::path& directory, bool same_step) {
  std::int64_t step = 1;
  if (const auto newest = newest_checkpoint(directory)) {
    CheckpointReader reader(*newest);
    step = reader.info().step;
    if (const std::string difference = compare_on_grid(reader, 1, 2, step); !difference.empty()) {
      std::fprintf(stderr, "%s: %s\n", newest->c_str(), difference.c_str());
      return 3;
    }
  }
  SimulatedRun run(directory, 2, 2);
  for (int save = 0; save < 2; ++save) {
    step += same_step ? 0 : 1;
    for (auto& rank : run.ranks) rank.set_step(step);
    run.begin(step);
    for (std::size_t r = 0; r < run.ranks.size(); ++r) {
      for (std::int64_t i = 0; i < run.ranks[r].num_states(); ++i) {
        run.writers[r]->before_overwrite(i);
        run.ranks[r].overwrite(i, step + 1);
      }
    }
    run.wait();
    run.commit(step, {.newest = 2, .every = 10});
  }
  return 0;
}

bool mount_small_disk(const fs::path& directory, const char* size) {
  const auto uid = ::getuid();
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1\n";
  ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return ::mount("none", directory.c_str(), "tmpfs", 0, size) == 0;
}

int fail_once(const fs::path& directory, bool in_commit) {
  SimulatedRun run(directory, 1, 1);
  run.ranks[0].set_step(1);
  try {
    run.begin(1);
    run.wait();
    if (in_commit) {
      // Another program takes what is left.
      std::ofstream filler(directory / "filler");
      const std::string block(4096, 'x');
      while (filler << block << std::flush) {
      }
    }
    run.commit(1);
  } catch (const Error& error) {
    std::printf("status %d: %s\n", static_cast<int>(error.status()), error.what());
    for (int again = 0; again < 2 && !in_commit; ++again) {
      try {
        if (again == 0) run.writers[0]->is_written();
        if (again == 1) run.writers[0]->before_overwrite(0);
        std::printf("the error was forgotten\n");
      } catch (const Error&) {
      }
    }
    run.writers[0]->discard();
    fs::remove(directory / "filler");
    std::printf("%s\n", fs::is_empty(directory) ? "nothing left" : "something left");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  const std::string mode = argv[1];
  const fs::path directory = argv[2];
  if (mode == "save" || mode == "again") return save_twice(directory, mode == "again");
  if (mode == "limit") {
    const rlimit limit{16384, 16384};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
    return fail_once(directory, false);
  }
  if (!mount_small_disk(directory, mode == "full" ? "size=96k" : "size=512k")) return 77;
  return fail_once(directory, mode == "commit");
}
