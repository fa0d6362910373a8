#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "device/context.hpp"
#include "device/view.hpp"
#include "parallel/comm/communicator.hpp"

namespace espalier::parallel {

/// Tokens [first, first + count) of a micro-batch: the rows of a product and of its input.
struct Rows {
  std::int64_t first, count;
  device::View of(const device::View& view) const { return view.row_range(first, count); }
  device::ConstView of(const device::ConstView& view) const { return view.row_range(first, count); }
};

/// The operators at the two boundaries of a tensor-parallel region, each named with its
/// forward/backward pair (Shoeybi et al. 2019, "f" and "g"; Korthikanti et al. 2022, "g" and
/// "g-bar" with sequence parallelism). Between blocks a rank holds T_loc tokens; inside a region
/// all T. At tensor size 1 all are the identity.
///
/// |       | forward, sequence parallel on / off | backward on / off              |
/// |-------|-------------------------------------|--------------------------------|
/// | enter | all-gather of tokens / identity     | reduce-scatter / all-reduce    |
/// | leave | reduce-scatter / all-reduce         | all-gather of tokens / identity|
///
/// Each returns the view that holds the result: `scratch` when data moved, the argument itself
/// when the operator is the identity or works in place. Token split: rank t holds the contiguous
/// rows [t T/n, (t+1) T/n) of the flattened (B*S) tokens.
///
/// An operator takes the matrix product that stands beside it: for a gather, product(Rows,
/// ConstView input) computes these rows of what follows from the same rows of the gathered input;
/// for a sum, product(Rows) computes these rows of what is to be summed. Without a communicator
/// `beside` it is called once, with all rows. With one, T is cut into n parts, one per rank, whose
/// collectives run in the tensor group's communication stream: the own part is multiplied while the
/// first of the others arrives, and a part is summed while the next is multiplied (Wang et al.
/// 2023, "Overlap Communication with Dependent Computation via Decomposition"; Megatron's
/// tp_comm_overlap). What stays exposed is the last part's sum, 1/n of the message, and whatever a
/// part's message takes longer than its product: (n-1)/n * 2 H bytes per token on each link
/// against 2 H N_loc FLOPs per token for a product with N_loc columns. The products get n times
/// fewer rows, too few for a GPU when T/n is a few hundred.
///
/// A part is gathered as a broadcast from, and summed as a reduction to, the rank that owns its
/// tokens, in the order of the ranks on every rank; the messages are those of one all-gather or
/// reduce-scatter. The sums have the communicator's bits whatever the cut, but a library's product
/// of fewer rows may round its sums in another order.
///
/// A region that passes in chunks of tokens, the LM head, has its own cut: a chunk arrives while
/// the one before it is computed, and is summed while the next is (enter_forward_in_chunks,
/// begin_enter_backward). Its products are the same with and without parts. Exposed are the first
/// chunk's gather and what the last chunk's sum takes longer than the product after it. A
/// collective within a chunk stands behind the sum of the chunk before: NCCL starts its
/// communicators' messages in the host's order.
class TensorBoundary {
 public:
  /// Both communicators are of the tensor group and must outlive this; `beside` is for the side
  /// stream Context::CommunicationStream::tensor, or null.
  TensorBoundary(Communicator& tensor, bool sequence_parallel, Communicator* beside = nullptr);

  bool splits_tokens() const;  ///< sequence parallel and more than one tensor rank
  std::int64_t local_tokens(std::int64_t tokens) const;  ///< T_loc

  /// x (T_loc, H) -> (T, H) in `scratch` or x itself.
  device::ConstView enter_forward(device::Context& context, device::ConstView x,
                                  device::View scratch) const;
  template <class Product>
  device::ConstView enter_forward(device::Context& context, device::ConstView x,
                                  device::View scratch, Product&& product);
  /// As enter_forward, but the result may be used only after `wait`.
  device::ConstView enter_forward_early(device::Context& context, device::ConstView x,
                                        device::View scratch);
  /// What the compute stream has from now on comes after all that was begun early.
  void wait(device::Context& context);
  /// For a region that takes `chunk_tokens` tokens at a time: product(Rows, ConstView input) for
  /// rows [0, c), [c, 2c), ... of x, the last perhaps fewer. The order is the same on every rank,
  /// so that a chunk may contain collectives of the tensor group: no rank can begin with the rows
  /// that it has.
  template <class Product>
  void enter_forward_in_chunks(device::Context& context, device::ConstView x, device::View scratch,
                               std::int64_t chunk_tokens, Product&& product);

  /// dx (T, H) partial sums -> (T_loc, H): into `local` when tokens are split, else summed in
  /// place.
  device::View enter_backward(device::Context& context, device::View dx, device::View local) const;
  /// `meanwhile()` is what can be computed while the last parts travel. With parts the result is
  /// the rank's own rows of dx.
  template <class Product, class Meanwhile>
  device::View enter_backward(device::Context& context, device::View dx, device::View local,
                              Product&& product, Meanwhile&& meanwhile);

  /// enter_backward in two steps, for chunks. begin: what the compute stream has put into these
  /// rows of dx is final and may be summed; to be called for all rows of dx. finish: the result, as
  /// of enter_backward.
  void begin_enter_backward(device::Context& context, device::View dx, Rows rows);
  device::View finish_enter_backward(device::Context& context, device::View dx, device::View local);

  /// y (T, H) partial sums -> (T_loc, H): into `local` when tokens are split, else summed in place.
  device::View leave_forward(device::Context& context, device::View y, device::View local) const;
  template <class Product>
  device::View leave_forward(device::Context& context, device::View y, device::View local,
                             Product&& product) {
    return enter_backward(context, y, local, product, [] {});
  }

  /// dy (T_loc, H) -> (T, H) in `scratch` or dy itself.
  device::ConstView leave_backward(device::Context& context, device::ConstView dy,
                                   device::View scratch) const;
  template <class Product>
  device::ConstView leave_backward(device::Context& context, device::ConstView dy,
                                   device::View scratch, Product&& product) {
    return enter_forward(context, dy, scratch, product);
  }

 private:
  bool overlaps() const { return beside_ != nullptr && tensor_.size() > 1; }
  Rows rows_of_rank(std::int64_t tokens, int owner) const;
  // With parts. begin_gather: the own rows are in `scratch`, and the communication stream may
  // begin.
  void begin_gather(device::Context& context, device::ConstView x, device::View scratch);
  /// Begins to gather these rows of `full`, which await_rows waits for.
  void gather_rows(device::Context& context, device::View full, Rows rows);
  /// The rows that were gathered last are there for what the compute stream has from now on.
  void await_rows(device::Context& context);
  /// What the compute stream has put into these rows of `partial` is being summed.
  void begin_sum(device::Context& context, device::View partial, Rows rows);

  /// These rows of `all`, each owned by the rank that has the token. Valid until the next call.
  const RowShards& owned(const device::View& all, Rows rows);

  Communicator& tensor_;
  Communicator* beside_;
  bool sequence_parallel_;
  RowShards owned_;
  std::vector<std::int64_t> owned_begins_;
};

template <class Product>
device::ConstView TensorBoundary::enter_forward(device::Context& context, device::ConstView x,
                                                device::View scratch, Product&& product) {
  if (!overlaps() || !splits_tokens()) {
    const device::ConstView all = enter_forward(context, x, scratch);
    product(Rows{0, all.rows}, all);
    return all;
  }
  const device::ConstView full = scratch;
  const Rows own = rows_of_rank(full.rows, tensor_.rank());
  begin_gather(context, x, scratch);
  product(own, own.of(full));
  for (int owner = 0; owner < tensor_.size(); ++owner) {
    const Rows rows = rows_of_rank(full.rows, owner);
    gather_rows(context, scratch, rows);
    await_rows(context);
    if (owner != tensor_.rank()) product(rows, rows.of(full));
  }
  return full;
}

template <class Product>
void TensorBoundary::enter_forward_in_chunks(device::Context& context, device::ConstView x,
                                             device::View scratch, std::int64_t chunk_tokens,
                                             Product&& product) {
  const bool arrives = overlaps() && splits_tokens();
  const device::ConstView full = arrives ? scratch : enter_forward(context, x, scratch);
  const auto chunk = [&](std::int64_t first) {
    return Rows{first, std::min(chunk_tokens, full.rows - first)};
  };
  if (arrives) {
    begin_gather(context, x, scratch);
    gather_rows(context, scratch, chunk(0));
  }
  for (std::int64_t first = 0; first < full.rows; first += chunk_tokens) {
    const Rows rows = chunk(first);
    const std::int64_t next = first + rows.count;
    if (arrives) await_rows(context);
    // Before the products on the host, too: NCCL starts communicators in the host's order.
    if (arrives && next < full.rows) gather_rows(context, scratch, chunk(next));
    product(rows, rows.of(full));
  }
}

template <class Product, class Meanwhile>
device::View TensorBoundary::enter_backward(device::Context& context, device::View dx,
                                            device::View local, Product&& product,
                                            Meanwhile&& meanwhile) {
  if (!overlaps()) {
    product(Rows{0, dx.rows});
    meanwhile();
    return enter_backward(context, dx, local);
  }
  for (int owner = 0; owner < tensor_.size(); ++owner) {
    const Rows rows = rows_of_rank(dx.rows, owner);
    if (rows.count == 0) continue;
    product(rows);
    begin_sum(context, dx, rows);
  }
  meanwhile();
  return finish_enter_backward(context, dx, local);
}

}  // namespace espalier::parallel
