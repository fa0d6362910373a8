#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"
#include "parallel/layout/shard_map.hpp"
#include "support/scratch_folder.hpp"

// The optimizer state of a small model on every rank of a grid, in one process without MPI, and
// saves of it. Values are a pure function of (tensor, field, global element, step), so that what a
// reader gets can be checked bit for bit without keeping anything.

namespace espalier::io::testing {

using ::espalier::testing::ScratchFolder;

/// Every shard rule, rows that no grid divides evenly, vectors, and fewer rows than ranks.
std::vector<parallel::TensorSpec> small_model();

float expected_value(std::size_t tensor, int field, std::int64_t element, std::int64_t step);

/// A rank's place on a grid of tensor x data for the small model.
parallel::ProcessGrid grid_of(int num_tensor, int num_data, int rank);

/// One rank: what it owns under ZeRO-1.
class SimulatedRank {
 public:
  explicit SimulatedRank(const parallel::ProcessGrid& grid);
  void set_step(std::int64_t step);  ///< fills all state with that step's values
  std::vector<CheckpointShard> shards() const;
  std::int64_t num_states() const { return static_cast<std::int64_t>(states_.size()); }
  /// Overwrites one state with the values of `step`, as the update does.
  void overwrite(std::int64_t state, std::int64_t step);

 private:
  struct State {
    std::size_t tensor;
    parallel::Rectangle rectangle;
    bool writes;
    std::vector<float> fields[3];
  };
  std::vector<parallel::TensorSpec> specs_;
  std::vector<State> states_;
};

/// All ranks of a grid with their writers.
class SimulatedRun {
 public:
  SimulatedRun(const std::filesystem::path& directory, int num_tensor, int num_data,
               CheckpointWriter::Staging staging = CheckpointWriter::Staging::copy,
               bool is_shared = false);
  int num_ranks() const { return static_cast<int>(ranks.size()); }
  CheckpointInfo info(std::int64_t step) const;
  std::vector<std::string> indices() const;  ///< as the trainer gathers them
  void begin(std::int64_t step);             ///< on every rank, with the state they hold
  void wait();
  void commit(std::int64_t step, KeepRules keep = {});
  /// set_step, begin, wait, commit.
  std::filesystem::path save(std::int64_t step, KeepRules keep = {});

  std::filesystem::path directory;
  std::vector<SimulatedRank> ranks;
  std::vector<std::unique_ptr<CheckpointWriter>> writers;

 private:
  int num_tensor_, num_data_;
  bool is_shared_;
};

/// Reads every tensor as the ranks of tensor x data would and compares bit for bit with the values
/// of `step`; returns a description of the first difference, or empty.
std::string compare_on_grid(CheckpointReader& reader, int num_tensor, int num_data,
                            std::int64_t step);

/// The same of one rank of the grid.
std::string compare_on_rank(CheckpointReader& reader, int t, int num_tensor, int d, int num_data,
                            std::int64_t step);
/// What that rank reads.
std::vector<CheckpointReader::Wanted> wanted_of_rank(int t, int num_tensor, int d, int num_data);

}  // namespace espalier::io::testing
