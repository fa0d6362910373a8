#pragma once
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"
#include "io/checkpoint_shared.hpp"
#include "io/direct_file.hpp"

namespace espalier::io {

/// What is the same in all saves of a CheckpointWriter.
struct SaveSettings {
  std::filesystem::path directory;
  int rank, num_ranks;
  CheckpointWriter::Staging staging;
  CheckpointWriter::Fetch fetch;
  std::vector<KeptFile> kept;      ///< of rank 0
  std::string shared_layout = {};  ///< encode_shared_layout; empty: a file for each rank
  bool direct_io = true;           ///< past the page cache, where the file system can
};

/// What a save leaves to the next one of the same rank: memory that need not be asked of the system
/// again, which takes longer than the copy, and how it went.
struct SaveMemory {
  std::vector<float> fetched;  ///< one field of a shard, brought by settings.fetch
  /// By shard, which are the same in every save: (fields, rows * cols), or null.
  std::vector<std::unique_ptr<float[]>> copies;
  std::optional<double> until_update_s;  ///< from begin to the first update of the last save
  double written_s = 0.0;                ///< from begin until the last save was written
};

/// One save of one rank: a thread writes the shards to the rank's file in the partial folder, while
/// the main thread goes on and calls everything here. With Staging::copy another thread copies, the
/// last ones first, what the next update would meet unwritten, so that the update finds it done. It
/// begins with the object; what the rest of the ranks do, and what becomes of the files, is for
/// CheckpointWriter.
class CheckpointSave {
 public:
  /// `shards`: none of them empty. `indices`: of all ranks, or none; with them the thread makes
  /// master.h5, too. `settings` and `memory` must outlive it; `memory` is the save's until it ends.
  CheckpointSave(const SaveSettings& settings, SaveMemory& memory, CheckpointInfo info,
                 std::vector<CheckpointShard> shards, std::vector<std::string> indices);
  ~CheckpointSave();  ///< waits for the threads
  CheckpointSave(const CheckpointSave&) = delete;
  CheckpointSave& operator=(const CheckpointSave&) = delete;

  std::int64_t step() const { return info_.step; }
  std::span<const CheckpointShard> shards() const { return shards_; }

  std::filesystem::path folder() const { return partial_folder(settings_.directory, step()); }
  std::filesystem::path file() const { return folder() / rank_file_name(settings_.rank); }
  /// A name of its own until the file is whole, so that no other rank or later attempt takes half
  /// a file for a file.
  std::filesystem::path temporary_file() const {
    return folder() /
           ((is_shared() ? std::string(kSharedName) : rank_file_name(settings_.rank)) + ".tmp");
  }
  bool is_shared() const { return !settings_.shared_layout.empty(); }
  /// The save is over on every rank: the shared file gets its name. Throws Error (io_error).
  void finish_shared_file();
  std::filesystem::path temporary_master() const {
    return folder() / (std::string(kMasterName) + ".tmp");
  }

  // As the functions of CheckpointWriter with these names; the first three throw what a
  // thread met.
  bool is_written();
  void wait();
  void before_overwrite(std::int64_t state_index);
  double seconds() const { return seconds_; }  ///< from begin to is_written; once it is
  void cancel();                               ///< the threads end soon, and the save has failed

  /// master.h5 but for the sizes of the rank files: what the thread has made, else made now.
  /// Only after is_written() has said so: until then master.h5 is the thread's.
  Hdf5Image& master(const CheckpointInfo& info, std::span<const std::string> indices);
  /// A save that failed, for a person: what, what is left, what to do. A fault of the program stays
  /// what it is.
  Error explain(const std::exception& error) const;

 private:
  /// The life of a shard during a save. Who may move it on:
  ///
  ///   waiting --writer--> writing --writer--> written
  ///      |                   ^
  ///      +--main or copier--> copying --the same--> copied --writer--> writing
  ///
  /// The live memory may change once the shard is `copied` or `written`.
  enum class ShardState : std::uint8_t { waiting, copying, copied, writing, written };
  struct Slot {
    ShardState state = ShardState::waiting;
    const float* copy = nullptr;  ///< (fields, rows * cols) of the memory, from `copied` on
  };
  using Fields = std::array<const float*, kNumFields>;

  std::uint64_t data_bytes() const;  ///< of this rank's tensors

  // The copier's thread.
  void copy_ahead();
  std::size_t first_to_copy() const;

  // The writer's thread.
  void run();
  void write_file();
  void write_shards(FileDescriptor& out, const ShardOffsets& offsets,
                    std::uint64_t checksums_offset);
  void write_shared_file();
  void build_master(const CheckpointInfo& info, std::span<const std::string> indices);
  std::optional<std::size_t> take_next_shard();
  void write_shard(DirectFile& direct, FileDescriptor& out, std::size_t shard, const Fields& fields,
                   bool in_host_memory, const std::array<std::uint64_t, kNumFields>& offsets,
                   std::array<std::uint64_t, kNumFields>& checksums);
  void stop_if_cancelled();

  // The main thread and the copier's.
  bool copy_shard(std::unique_lock<std::mutex>& lock, std::size_t shard, bool with_host_threads);
  void copy_fields(float* to, const CheckpointShard& shard, bool with_host_threads) const;
  void fail_with(const Error& error);

  // The main thread.
  void make_room_for_change(std::size_t shard);
  void throw_failure() const;

  const SaveSettings& settings_;
  SaveMemory& memory_;
  const CheckpointInfo info_;
  const std::vector<CheckpointShard> shards_;
  const std::vector<std::string> indices_;  ///< of all ranks; empty: master.h5 is left to commit
  std::unordered_multimap<std::int64_t, std::size_t> shards_of_state_;
  std::optional<Hdf5Image> master_;  ///< of the thread until `finished_`

  // Shared by the threads, under `mutex_`. `changed_`: any state, `finished_`, `failure_`,
  // `cancelled_`.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;  ///< one per shard
  bool finished_ = false;
  double seconds_ = 0.0;
  bool cancelled_ = false;
  std::optional<Error> failure_;

  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::optional<double> until_update_s_;  ///< of the main thread
  std::thread writer_, copier_;
};

}  // namespace espalier::io
