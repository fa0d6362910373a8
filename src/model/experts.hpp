#pragma once
#include <cstdint>
#include <vector>

#include "device/context.hpp"
#include "model/expert_balance.hpp"
#include "model/expert_rounds.hpp"
#include "model/weights.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::model {

/// The experts of blocks (Shazeer et al. 2017, as Qwen3MoeSparseMoeBlock of Hugging Face), on this
/// rank's tokens: a token's k experts are chosen from the router's probabilities, its row is sent
/// to the ranks that have them (Span::expert), and their outputs come back and are summed with the
/// token's weights. No token is dropped: what there is no memory for is computed in rounds, with
/// the same bits of every row.
///
/// Every pass of a layer that exchanges rows is collective over the expert group, with or without
/// rows on this rank.
class Experts {
 public:
  /// A block on this rank's tokens.
  struct Layer {
    std::int64_t number;  ///< of the model's blocks with experts
    const BlockTensors& weights;
    const BlockTensors* gradients;  ///< null: none
    const ExpertActivations& kept;
    std::vector<std::int64_t>& counts;  ///< (ranks, E) pairs of its last forward pass
  };
  /// All must outlive this; what `scratch` and `bias` point to belongs to others.
  struct Place {
    const Architecture& architecture;
    const LocalSizes& sizes;
    ExpertOptions options;
    std::int64_t capacity;  ///< ExpertSizes::capacity of the scratch
    const ExpertScratch& scratch;
    device::ConstView bias;  ///< (blocks with experts, E) f32; may be absent
    device::Context& context;
    parallel::GridCommunicators& communicators;
  };
  explicit Experts(const Place& place);

  /// branch (T_loc, H) = the experts' weighted sum of n2 (T_loc, H).
  void forward(const Layer& layer, device::ConstView n2, device::View branch);

  struct Backward {
    device::ConstView n2;                ///< (T_loc, H)
    device::ConstView d_branch;          ///< (T_loc, H)
    device::View d_n2;                   ///< (T_loc, H), replaced
    bool remakes_rows, remakes_gate_up;  ///< the first round's are not there any more
    device::Output output;               ///< of the gradients of weights
    const DeferredExperts* deferred;     ///< null: those are computed now
    ExpertBalance::OfLogits balance;
  };
  void backward(const Layer& layer, const Backward& pass);
  /// What `backward` put off. `n2` (T_loc, H).
  void backward_weights(const Layer& layer, const DeferredExperts& deferred, device::ConstView n2,
                        device::Output output);
  /// How many rounds the passes of a layer take whose choice is made.
  std::int64_t num_rounds(const Layer& layer);

 private:
  using Round = ExpertRounds::Round;
  /// The buffers of a round; rows are those of its window.
  struct Buffers {
    device::View rows, gate_up, hidden, dy, results, row_weights, d_row_weights;
  };
  /// Buffers by which rows of one kind travel; the last three with more than one rank.
  struct Way {
    device::View pairs;     ///< (T_loc*k, C) by expert: to be sent, or come back
    device::View received;  ///< (capacity, C) as they come
    device::View returned;  ///< (T_loc*k, C): several rounds come back into it, else absent
  };

  // experts.cpp
  void route(const Layer& layer, device::ConstView n2);
  void learn_counts(const Layer& layer);
  void begin_round(std::int64_t number);
  /// The round's places of rows received, once, for who dispatches or collects.
  void make_places();
  Buffers buffers_of(const Layer& layer, const DeferredExperts* deferred);
  Way way_of_rows(const Layer& layer) const;
  Way way_of_weights(const Layer& layer) const;
  /// window (rows, C) = row pair / divisor of `source` for every pair, of all ranks, whose row is
  /// in this rank's window.
  void dispatch(const Layer& layer, device::ConstView source, std::int64_t divisor, const Way& way,
                device::View window);
  /// The other way: rows of the window to their pairs, in come_back(way).
  void collect(device::ConstView window, const Way& way);
  device::View come_back(const Way& way) const {
    return rounds_.num_rounds() > 1 && way.returned.exists() ? way.returned : way.pairs;
  }
  void exchange(device::View out, device::ConstView in, std::span<const std::int64_t> send_rows,
                std::span<const std::int64_t> receive_rows);
  bool exchanges() const { return comm_.expert != nullptr; }
  void gate_up_forward(const Layer& layer, const Buffers& b);

  // experts_backward.cpp
  struct Parts {
    bool inputs, weights;
  };
  void round_backward(const Layer& layer, std::int64_t number, const Backward& pass, Parts parts);
  void weight_products(const Layer& layer, const Buffers& b, device::Output output);
  void router_backward(const Layer& layer, const Backward& pass);

  const Architecture& architecture_;
  const LocalSizes& sizes_;
  ExpertOptions options_;
  std::int64_t capacity_;
  const ExpertScratch& s_;
  device::ConstView bias_;
  device::Context& context_;
  parallel::GridCommunicators& comm_;
  ExpertRounds rounds_;
  const Round* round_ = nullptr;  ///< the one that is worked on
  std::int64_t round_number_ = 0;
  bool has_places_ = true;
  std::vector<std::int32_t> host_counts_, received_of_window_, window_of_received_;
  std::vector<std::int64_t> own_counts_;
};

}  // namespace espalier::model
