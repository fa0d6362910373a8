#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "io/checkpoint.hpp"
#include "model/tensor_table.hpp"
#include "optim/adamw.hpp"
#include "optim/expert_bias.hpp"
#include "parallel/comm/session.hpp"
#include "train/save_report.hpp"

namespace espalier::train {

/// `<output.directory>/checkpoints`
std::filesystem::path checkpoint_directory(const std::filesystem::path& run_directory);
std::filesystem::path checkpoint_directory(const config::Parameters& parameters);

/// The checkpoint that a run or tool starts from: `named` when not empty, else the newest complete
/// one under checkpoint_directory, else none. Rank 0 looks, every rank gets the answer.
std::optional<std::filesystem::path> find_checkpoint(const config::Parameters& parameters,
                                                     const std::string& named,
                                                     parallel::Communicator& world);

/// A line for each of the first tensors that only the checkpoint or only the table has, or that has
/// another shape there; empty: they are the same.
std::string other_tensors(const io::CheckpointReader& reader,
                          const std::vector<parallel::TensorSpec>& table);
/// Checks that every tensor of the table is in the checkpoint with its shape and nothing else is;
/// throws Error (bad_data) that says which model it is of.
void require_same_model(const io::CheckpointReader& reader,
                        const std::vector<parallel::TensorSpec>& table);

/// How the ranks of this job read a checkpoint together: rank 0 alone opens master.h5.
io::CheckpointReader::Company company(parallel::MpiSession& session);
/// What load_state reads.
std::vector<io::CheckpointReader::Wanted> wanted_state(const parallel::ParameterStore& parameters);
/// What load_weights reads.
std::vector<io::CheckpointReader::Wanted> wanted_weights(
    const std::vector<parallel::TensorSpec>& table, const parallel::ProcessGrid& grid);

/// Reads master weights and moments of this rank's shards from a checkpoint of any grid. Calls
/// `between` before each tensor; it may throw.
void load_state(device::Context& context, io::CheckpointReader& reader, optim::AdamW& optimizer,
                const std::function<void()>& between = {});

/// What a checkpoint keeps of a bias of the choice of experts (null: none), and back: one that was
/// written without begins at zero. Throws Error (bad_data) when it is of other experts.
void keep_expert_bias(io::CheckpointInfo& info, const optim::ExpertBias* bias);
void load_expert_bias(device::Context& context, const io::CheckpointInfo& info,
                      optim::ExpertBias* bias);

/// Reads the weights of a rank for evaluation or generation, rounded to their dtype.
void load_weights(device::Context& context, io::CheckpointReader& reader,
                  const std::vector<parallel::LocalTensor>& tensors,
                  const parallel::ProcessGrid& grid);

/// Drives the background writer from the step loop; the ranks agree through the numbers that the
/// step's all-reduce carries. A save has two parts: every rank writes its file, then rank 0 makes
/// the checkpoint complete. Both go on in the background.
class CheckpointDriver {
 public:
  /// Collective. Rank 0 works out which rectangles every rank of the grid will write.
  CheckpointDriver(const config::Parameters& parameters, device::Context& context,
                   optim::AdamW& optimizer, const parallel::GridShape& shape,
                   parallel::Communicator& world);
  ~CheckpointDriver();

  /// Starts a save of the state as it is now, when none is under way. Collective.
  void begin(const io::CheckpointInfo& info);
  bool is_saving() const { return part_ != Part::none; }
  /// This rank has done its share of the part that is under way: its word in the step's all-reduce.
  bool is_part_done();
  /// All ranks have: the next part begins, or the save is over and its report is returned, the same
  /// on every rank. Collective.
  std::optional<SaveReport> next_part();
  /// For the save at the end of a job: it copies nothing for an update.
  void expect_no_update();
  /// Waits until a running save is complete and older checkpoints are removed. Collective.
  std::optional<SaveReport> finish();
  /// For optim::AdamW::update.
  void before_overwrite(std::int64_t state_index);
  /// What this rank has waited for saves so far, in seconds.
  double stalled_s() const { return all_stalls_s_; }

 private:
  enum class Part : std::uint8_t { none, writing, completing };
  class Stall;
  std::vector<io::CheckpointShard> shards() const;
  SaveReport end_of_save();
  const config::CheckpointParameters& parameters_;
  device::Context& context_;
  optim::AdamW& optimizer_;
  parallel::Communicator& world_;
  std::vector<std::string> indices_;  ///< rank 0
  std::unique_ptr<io::CheckpointWriter> writer_;
  std::string tokenizer_file_;  ///< that every checkpoint keeps; rank 0
  std::int64_t bytes_ = 0;      ///< of the state of all ranks
  io::CheckpointInfo info_;
  Part part_ = Part::none;
  double stall_s_ = 0.0;  ///< that this rank has waited for the save under way
  double all_stalls_s_ = 0.0;
};

}  // namespace espalier::train
