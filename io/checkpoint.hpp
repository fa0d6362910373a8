#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/shard_map.hpp"

// A checkpoint is a folder `step-00001234`:
//   rank-00000.h5 ...  what each rank owns: one dataset per piece and field, as they lie in memory
//   master.h5          every tensor as a global virtual dataset under /master, /exp_avg,
//   /exp_avg_sq
//                      with Hugging Face's names, the index of rectangles, and all metadata
//   COMPLETE           the marker, written last: without it the folder is not a checkpoint
// It is written as `step-00001234.partial` and renamed when every rank has flushed its file.

namespace espalier::io {

/// Everything beside tensors. A run continued from it goes on as if it had not stopped.
struct CheckpointInfo {
  std::int64_t step = 0;  ///< steps done
  std::uint64_t samples_consumed = 0;
  std::uint64_t tokens_consumed = 0;
  std::int64_t adam_step = 0;
  std::string resolved_input;  ///< TOML (config::to_toml)
  std::string tokenizer_identity;
  std::string build;  ///< version, git revision, compiler, libraries
  std::string grid;   ///< "tensor 2 x data 4 = 8 ranks"
  int num_ranks = 1;
};

/// One rectangle of one tensor in memory, with `cols` contiguous columns per row.
struct CheckpointPiece {
  std::string name;  ///< Hugging Face name
  std::int64_t global_rows, global_cols;
  bool is_vector;
  parallel::Rectangle rectangle;  ///< global; empty pieces are left out
  const float* master;
  const float* exp_avg;
  const float* exp_avg_sq;
  std::int64_t state_index;  ///< index into Optimizer::state(), for before_overwrite
};

/// Writes this rank's file from a background thread while training goes on. One save at a time.
///   begin(...)            at a step boundary; returns at once
///   before_overwrite(i)   before state i changes: copies or waits if it is not yet written
///   is_written()          polled each step; errors of the thread surface here as Error (io_error)
///   commit(...)           when every rank's is_written (the caller agrees by a collective)
class CheckpointWriter {
 public:
  enum class Staging { copy, wait };
  CheckpointWriter(std::filesystem::path directory, int rank, int num_ranks, Staging staging);
  ~CheckpointWriter();

  /// `all_pieces_index` is needed on rank 0 only: rectangles of every rank's pieces, for master.h5;
  /// see encode_index / the trainer, which gathers them once.
  void begin(const CheckpointInfo& info, std::vector<CheckpointPiece> pieces);
  bool is_saving() const;
  bool is_written();
  void before_overwrite(std::int64_t state_index);
  void wait();

  /// Text form of this rank's rectangles; rank 0 needs those of all ranks to write master.h5.
  static std::string encode_index(std::span<const CheckpointPiece> pieces);
  /// Rank 0, after every rank is written: master.h5, rename, marker; then removes what `keep` and
  /// `keep_every` do not hold. `indices`: encode_index of every rank, in rank order.
  void commit(const CheckpointInfo& info, std::span<const std::string> indices, std::int64_t keep,
              std::int64_t keep_every);
  /// Other ranks, in place of commit: the save is over.
  void release();
  /// Removes what this rank wrote of a save that failed.
  void discard();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The newest folder with a marker under `directory`; nothing when there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& directory);

/// Reads any checkpoint on any grid: opens only the files whose rectangles it needs.
class CheckpointReader {
 public:
  /// Throws Error (bad_data): no marker, missing rank file, truncated, not a checkpoint.
  explicit CheckpointReader(const std::filesystem::path& folder);
  ~CheckpointReader();
  const CheckpointInfo& info() const;

  struct TensorShape {
    std::string name;
    std::int64_t rows, cols;
  };
  const std::vector<TensorShape>& tensors() const;
  enum class Field { master, exp_avg, exp_avg_sq };
  /// out (rectangle.rows(), rectangle.cols()) row-major. Throws Error (bad_data) when the tensor is
  /// not there, has another global shape, or the rectangle is not covered.
  void read(const std::string& name, std::int64_t global_rows, std::int64_t global_cols,
            const parallel::Rectangle& rectangle, Field field, float* out);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::io
