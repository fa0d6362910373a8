#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "optim/adamw.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::optim {

/// A tensor that is not what it should be on some ranks.
struct AuditFinding {
  std::string tensor;      ///< Hugging Face name
  std::string part;        ///< "weight", "master weight", "moment 1" or "moment 2"
  std::vector<int> ranks;  ///< ascending; who holds wrong bits, or, undecided, whoever differs
  bool is_decided;  ///< false: these ranks differ from one another, and nothing says who errs
};

/// Compares what several ranks hold and what must be equal in every bit:
/// - a weight, on all ranks that hold the same shard of it (data, context and, for what is whole on
///   each of them, tensor ranks);
/// - a weight's rows with the fp32 weights of the optimizer that they are rounded from, on the
///   rank that owns these;
/// - the optimizer's state where several ranks own the same (zero_stage 0; norms without sequence
///   parallelism);
/// - weight and state of an embedding that is tied to the LM head of a pipeline's last stage, on the
///   two ranks that hold it.
/// It reads weights and replicated state once, in pieces, and sends 8 bytes per tensor and group.
/// State that one rank alone owns has no witness: a bit that flips there is not found.
class ReplicaAudit {
 public:
  /// All of it must outlive the audit. `zero_stage` is the store's.
  ReplicaAudit(device::Context& context, const parallel::ProcessGrid& grid,
               parallel::GridCommunicators& communicators, parallel::ParameterStore& store,
               AdamW& optimizer, int zero_stage);

  /// What differs, the same on every rank; empty: nothing. No pass may be using weights. Weights
  /// that differ from their owner's are the owner's afterwards. Collective over the world.
  std::vector<AuditFinding> run();

 private:
  /// What is compared: a weight, or a part of the state of an owned shard.
  struct Item {
    std::string part;
    const parallel::TensorSpec* spec;
    device::ConstView view;
    bool in_gradient_group, in_tensor_group, in_tied_group;  ///< whose ranks hold the same
    int first_holder;                                        ///< the first rank that holds the same
  };
  std::uint64_t hash_of(const device::ConstView& view);
  bool is_rounded_master(const StateShard& state);
  std::vector<bool> differing();  ///< by item
  void compare(parallel::Communicator& group, const std::vector<std::size_t>& items,
               std::vector<bool>& differs);
  std::vector<AuditFinding> describe(const std::vector<bool>& differs);

  device::Context& context_;
  device::Context host_;  ///< rounds masters
  parallel::GridCommunicators& communicators_;
  parallel::ParameterStore& store_;
  AdamW& optimizer_;
  std::vector<Item> items_;  ///< weights first, as in the store
  std::map<parallel::Span, std::vector<std::size_t>> by_span_;
  std::vector<std::size_t> by_tensor_group_, by_tied_group_;
  std::vector<std::uint64_t> hashes_;                ///< by item
  std::vector<std::byte> piece_, master_, rounded_;  ///< rows of one tensor
};

/// Who of those that should hold the same has other bits than most of them: places in `hashes`,
/// ascending. Without a majority (`is_decided` false) all places; empty when all are equal.
std::vector<std::size_t> outvoted(std::span<const std::uint64_t> hashes, bool& is_decided);

}  // namespace espalier::optim
