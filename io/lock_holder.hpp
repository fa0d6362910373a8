#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::io {

/// Who holds a lock, as its file says: for a person who wants to find that job, and for a job on a
/// file system without locks that wants to know whether the holder still lives.
struct LockHolder {
  std::string host;
  std::int64_t pid = 0;
  std::string job;          ///< "Slurm job 4711"; empty: of no batch system
  std::string since;        ///< local time of the host
  std::string machine;      ///< boot and pid namespace: where `pid` means something
  std::uint64_t start = 0;  ///< of the process, in ticks since the boot: a pid may be given anew

  static LockHolder this_process();
  /// Nothing when the text is not what text() writes: nobody holds the lock.
  static std::optional<LockHolder> parse(std::string_view text);
  std::string text() const;
  /// "host node7, process 1234, Slurm job 4711, since 2031-02-03 04:05:06"
  std::string describe() const;
  /// How to end that job: "scancel 4711" or "kill 1234 on node7".
  std::string remedy() const;

  /// Its process can be looked for from here.
  bool is_on_this_machine() const;
  /// It is on this machine, and its process has ended.
  bool is_dead() const;
  bool operator==(const LockHolder&) const = default;
};

}  // namespace espalier::io
