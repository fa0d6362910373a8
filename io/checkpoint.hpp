#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/layout/shard_map.hpp"

// A checkpoint is a folder `step-00001234`:
//   rank-00000.h5 ...  what each rank owns: one dataset per shard and field, as they lie in memory
//   master.h5          every tensor as a global virtual dataset under /master, /exp_avg and
//                      /exp_avg_sq with Hugging Face's names, the index of rectangles, metadata
//   tokenizer/         the tokenizer's own files, so that the checkpoint can be used anywhere
//   COMPLETE           the marker, written last: without it the folder is not a checkpoint
// or, with one shared file, tensors.h5 in place of the first two (checkpoint_shared.hpp).
// It is written as `step-00001234.partial` and renamed when every rank has flushed its file.

namespace espalier::io {

/// Everything beside tensors. A run continued from it goes on as if it had not stopped.
struct CheckpointInfo {
  std::int64_t step = 0;  ///< steps done
  std::uint64_t samples_consumed = 0;
  std::uint64_t tokens_consumed = 0;
  std::int64_t adam_step = 0;  ///< updates of the weights: fewer than steps where some were skipped
  std::int64_t num_spikes = 0;  ///< that count towards run.max_spikes
  std::string resolved_input;   ///< TOML (config::to_toml)
  std::string tokenizer_identity;
  std::string tokenizer_file = {};  ///< kept in the checkpoint, from its folder; empty: none is
  std::string data_identity = {};   ///< of the training data, to compare; empty: unknown
  /// Where the weights went on in another function, as checkpoint.allow_changes said: a line each,
  /// "after step 40: model.rope_theta = 500000.0 (was 10000.0)"; empty: nowhere.
  std::string allowed_changes = {};
  std::string build;  ///< version, git revision, compiler, libraries
  std::string grid;   ///< "tensor 2 x data 4 = 8 ranks"
  int num_ranks = 1;
  bool is_shared = false;     ///< one file of all ranks (checkpoint.layout = "shared")
  std::int64_t saved_at = 0;  ///< begin of the save, seconds since 1970; 0: unknown
  std::string job = {};       ///< that saved it: "job 3, Slurm 4711 on node012"; empty: unknown
  /// Weights without the moments of the optimizer (/exp_avg and /exp_avg_sq are not there): made
  /// from another format. It can be evaluated and started from, not continued.
  bool weights_only = false;
  /// (blocks with experts, num_experts): what is added to probabilities for the choice of experts
  /// (experts.balance = "bias"), the attribute expert_bias of master.h5; empty: nothing is.
  std::vector<float> expert_bias = {};
  std::int64_t num_experts = 0;
};

/// Which checkpoints stay when a new one is complete; all others that are older are removed.
struct KeepRules {
  std::int64_t newest = 2;  ///< so many; at least one
  std::int64_t every = 0;   ///< those whose step is a multiple; 0: none
  /// Of every so many hours (counted from 1970, UTC) the first one, by CheckpointInfo::saved_at;
  /// 0: none. A clock that was set back begins another such span of hours.
  double hours = 0.0;
};

/// A small file that a checkpoint keeps beside the tensors.
struct KeptFile {
  std::string name;  ///< from the checkpoint's folder: "tokenizer/tokenizer.json"
  std::string bytes;
};

/// One rectangle of one tensor in memory, with `cols` contiguous columns per row.
struct CheckpointShard {
  std::string name;  ///< Hugging Face name
  std::int64_t global_rows, global_cols;
  bool is_vector;
  parallel::Rectangle rectangle;  ///< global; empty shards are left out
  const float* master;  ///< first element of the rectangle, as the next two: (rows, cols) f32
  const float* exp_avg;
  const float* exp_avg_sq;
  std::int64_t state_index;  ///< index into AdamW::state(), for before_overwrite
};

/// Writes this rank's file from a background thread while training goes on. One save at a time.
///   begin(...)            at a step boundary; returns at once
///   before_overwrite(i)   before state i changes: copies or waits if it is not yet written
///   is_written()          polled each step; errors of the thread surface here
///   start_commit(...)     on rank 0, when every rank's is_written (the caller agrees by a
///                         collective); release() on the others
///   is_complete()         polled on rank 0
///
/// What the caller owes:
/// - every rank constructs its writer, and a barrier (any collective) lies between that and the
///   first begin: rank 0's constructor removes what crashed saves left in the directory;
/// - every rank calls begin for the same step, and nothing else runs in the directory;
/// - all calls come from the main thread; the shards' memory outlives the save.
/// Errors of the threads (disk full, not writable) are kept and thrown by every later call of
/// is_written, wait and before_overwrite, then of is_complete, as Error (io_error) that names the
/// last complete checkpoint, until discard().
class CheckpointWriter {
 public:
  enum class Staging { copy, wait };
  /// Copies `count` elements of a shard into host memory; called from the thread and from
  /// before_overwrite, also at the same time.
  using Fetch = std::function<void(float* to, const float* from, std::int64_t count)>;
  /// `directory` holds the checkpoints; rank 0 creates it. `fetch`: for shards that do not lie in
  /// host memory; empty: the thread reads them where they are. `kept`: what rank 0 writes into
  /// every checkpoint. Throws Error (io_error).
  CheckpointWriter(std::filesystem::path directory, int rank, int num_ranks, Staging staging,
                   Fetch fetch = {}, std::vector<KeptFile> kept = {});
  ~CheckpointWriter();  ///< a save that is not over is given up and its files removed

  /// The saves from now on are of one file (layout of all ranks, from shared_layout of the indices
  /// of all ranks; begin is then given the indices on rank 0, and info.is_shared).
  void use_shared_file(std::string layout);
  /// Whether the saves from now on go past the page cache where the file system can: at first yes.
  void use_direct_io(bool wanted);
  /// No update comes any more: the saves from now on copy nothing.
  void expect_no_update();
  /// Where everything lies in the shared file: worked out by rank 0, told to all. Throws Error.
  static std::string shared_layout(std::span<const std::string> indices);

  /// The shards' names are unique on a rank. Does no I/O itself. `indices`: what commit will get,
  /// used by rank 0: with it the thread also makes master.h5, which takes commit some 10 ms a rank.
  void begin(const CheckpointInfo& info, std::vector<CheckpointShard> shards,
             std::span<const std::string> indices = {});
  bool is_saving() const;  ///< from begin until is_complete, release or discard
  bool is_written();       ///< this rank's file is on the disk; false when not saving
  /// May copy with the host threads. States that the save does not hold are ignored.
  void before_overwrite(std::int64_t state_index);
  void wait();  ///< until is_written

  /// Text form of this rank's rectangles; rank 0 needs those of all ranks to write master.h5.
  /// They are the same in every save, so the caller gathers them once.
  static std::string encode_index(std::span<const CheckpointShard> shards);
  /// Rank 0, after every rank is written: master.h5, rename, marker, in another thread; then
  /// removes what `keep` does not hold. `indices`: encode_index of every rank, in rank order.
  void start_commit(const CheckpointInfo& info, std::span<const std::string> indices,
                    KeepRules keep);
  /// The checkpoint of start_commit has its marker, and the save is over; older ones may still be
  /// being removed. False before start_commit.
  bool is_complete();
  void wait_complete();  ///< until is_complete
  /// Until older checkpoints are removed, too; warns of those that stay. Nothing when none are.
  void wait_pruned();
  /// start_commit, and waits for all of it.
  void commit(const CheckpointInfo& info, std::span<const std::string> indices, KeepRules keep);
  /// What the last save took, without waits for the caller: from begin until this rank's file was
  /// on the disk, and from start_commit to the marker.
  double written_s() const;
  double committed_s() const;
  /// Other ranks, in place of commit: the save is over.
  void release();
  /// Stops the thread and removes what this rank wrote of a save that failed. Never throws.
  void discard();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The newest folder with a marker under `directory`; nothing when there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& directory);

/// The checkpoint that a person means by `path`: a checkpoint folder itself, or the newest in a
/// directory of checkpoints or in a run directory; nothing when it is none of these.
std::optional<std::filesystem::path> checkpoint_at(const std::filesystem::path& path);

/// Writes a checkpoint of weights alone, tensor by tensor, into a folder that the caller has made
/// and afterwards gives its name. Every rank writes its file; when all are finished, one rank calls
/// complete. All throw Error (io_error).
class WeightsCheckpointWriter {
 public:
  /// `tensors`: what this rank writes, each whole; they must outlive the writer.
  /// `info.weights_only` is set.
  WeightsCheckpointWriter(std::filesystem::path folder, const CheckpointInfo& info, int rank,
                          std::span<const parallel::TensorSpec* const> tensors);
  ~WeightsCheckpointWriter();
  /// values (rows, cols) of tensors[i].
  void write(std::size_t i, const float* values);
  /// Checksums; the file reaches the disk. Returns this rank's part of the index.
  std::string finish();
  /// `indices`: what finish returned on every rank. `kept`, master.h5 and the marker.
  static void complete(const std::filesystem::path& folder, const CheckpointInfo& info,
                       std::span<const std::string> indices, std::span<const KeptFile> kept = {});

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Reads any checkpoint on any grid: opens only the files whose rectangles it needs.
class CheckpointReader {
 public:
  /// `everything`: a shard of which only a part is needed is read whole, to check its checksum.
  /// `whole_shards`: checksums only of shards that are needed whole; fewer bytes are read.
  enum class Verify { everything, whole_shards };
  /// Throws Error (bad_data): no marker, missing rank file, truncated, not a checkpoint.
  explicit CheckpointReader(const std::filesystem::path& folder,
                            Verify verify = Verify::everything);

  /// A rectangle that a rank will read.
  struct Wanted {
    std::string tensor;
    parallel::Rectangle rectangle;
  };
  /// What the ranks of a job have in common, to read a checkpoint together.
  struct Company {
    int rank, num_ranks;
    /// Runs the action on rank 0 and gives its text to all ranks, which meet its error. Collective.
    std::function<std::string(const std::function<std::string()>&)> on_rank_0;
    /// The least of all ranks' numbers. Collective.
    std::function<double(double)> least;
  };
  /// As above on every rank of a job, which all meet the error: rank 0 reads master.h5 and tells
  /// the others; of the index, which grows with the ranks that wrote the checkpoint, a rank keeps
  /// what stands in the same files as a rectangle that it wants, and only such rectangles can be
  /// read (rank 0 keeps all). Each rank looks at the sizes of its share of the files. Collective.
  CheckpointReader(const std::filesystem::path& folder, Verify verify,
                   std::span<const Wanted> wanted, const Company& company);
  ~CheckpointReader();
  const CheckpointInfo& info() const;

  struct TensorShape {
    std::string name;
    std::int64_t rows, cols;
    bool is_vector = false;
  };
  const std::vector<TensorShape>& tensors() const;
  /// Which rank wrote which rectangle: `tensor` is an index into tensors().
  struct PlacedRectangle {
    std::int64_t tensor;
    int rank;
    parallel::Rectangle rectangle;
  };
  std::vector<PlacedRectangle> rectangles() const;

  enum class Field { master, exp_avg, exp_avg_sq };
  /// out (rectangle.rows(), rectangle.cols()) row-major. Throws Error (bad_data) when the tensor is
  /// not there (nor are moments, when info().weights_only), has another global shape, the rectangle
  /// is not covered, or a checksum does not fit.
  void read(const std::string& name, std::int64_t global_rows, std::int64_t global_cols,
            const parallel::Rectangle& rectangle, Field field, float* out);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

inline constexpr int kNumFields = 3;
/// Groups in the files, in the order of CheckpointReader::Field.
inline constexpr std::array<const char*, kNumFields> kFieldNames = {"master", "exp_avg",
                                                                    "exp_avg_sq"};
/// How many of them a checkpoint has: all, or the first.
inline int num_fields(const CheckpointInfo& info) {
  return info.weights_only ? 1 : kNumFields;
}

}  // namespace espalier::io
