// The schedules, rank by rank. Sources: schedule.hpp.
#include <fmt/core.h>

#include <algorithm>
#include <deque>

#include "base/error.hpp"
#include "parallel/schedule/schedule.hpp"

namespace espalier::pipeline {
namespace {

/// Writes the list of one rank. Of each chunk the next forward, backward or W is that of the next
/// micro-batch; what lies beyond the last is left out, so that a schedule may be written for more
/// micro-batches than there are.
class RankList {
 public:
  RankList(const Placement& placement, int micro_batches, int rank)
      : placement_(placement),
        micro_batches_(micro_batches),
        rank_(rank),
        next_(static_cast<std::size_t>(placement.chunks)) {}

  void forward(int chunk) { add(ActionKind::forward, chunk, next(chunk).forward++); }
  void backward(int chunk) {
    const int i = next(chunk).backward++;
    ESPALIER_ASSERT(i == next(chunk).weights, "W of micro-batch {} is still to come",
                    next(chunk).weights);
    ++next(chunk).weights;
    add(ActionKind::backward, chunk, i);
  }
  void inputs(int chunk) {
    put_off_.push_back(chunk);
    add(ActionKind::backward_inputs, chunk, next(chunk).backward++);
  }
  /// Of the chunk's oldest B without it.
  void weights(int chunk) {
    put_off_.erase(std::find(put_off_.begin(), put_off_.end(), chunk));
    add(ActionKind::backward_weights, chunk, next(chunk).weights++);
  }
  /// Of the oldest B of all that has none yet.
  void oldest_weights() { weights(put_off_.front()); }
  std::size_t num_put_off() const { return put_off_.size(); }
  bool has_put_off(int chunk) const { return next_[index(chunk)].weights < num_inputs(chunk); }
  int num_forwards(int chunk) const { return next_[index(chunk)].forward; }
  int num_inputs(int chunk) const { return next_[index(chunk)].backward; }

  std::vector<Action> take() { return std::move(actions_); }

 private:
  struct Next {
    int forward = 0, backward = 0, weights = 0;
  };
  static std::size_t index(int chunk) { return static_cast<std::size_t>(chunk); }
  Next& next(int chunk) { return next_[index(chunk)]; }
  void add(ActionKind kind, int chunk, int micro_batch) {
    if (micro_batch < micro_batches_)
      actions_.push_back({kind, placement_.stage_of(rank_, chunk), micro_batch});
  }

  const Placement& placement_;
  int micro_batches_, rank_;
  std::vector<Next> next_;
  std::deque<int> put_off_;  ///< chunks of the B that are without their W, the oldest first
  std::vector<Action> actions_;
};

void gpipe(RankList& list, const PipelineShape& shape) {
  for (int i = 0; i < shape.micro_batches; ++i) list.forward(0);
  for (int i = 0; i < shape.micro_batches; ++i) list.backward(0);
}

/// 1f1b, interleaved, zb-h1 and zb1p: forwards to warm up, then one forward and one backward in
/// turn, then the backwards that are left. Over chunks both go in rounds of p micro-batches: these
/// through the first chunk (backward: the last one), then through the next, and so on.
struct OneForwardOneBackward {
  int warm_up;  ///< forwards before the first pair
  bool splits;  ///< B and W instead of whole backwards
  int put_off;  ///< so many B more have been done when a W follows
};

void one_forward_one_backward(RankList& list, const PipelineShape& shape,
                              const OneForwardOneBackward& how) {
  const int total = shape.micro_batches * shape.chunks;
  const int round = shape.chunks == 1 ? total : shape.ranks * shape.chunks;
  const auto chunk_at = [&](int i) { return shape.chunks == 1 ? 0 : i % round / shape.ranks; };
  const auto backward = [&](int i) {
    const int chunk = shape.chunks - 1 - chunk_at(i);
    if (!how.splits) return list.backward(chunk);
    list.inputs(chunk);
    if (list.num_put_off() > static_cast<std::size_t>(how.put_off)) list.oldest_weights();
  };
  const int warm_up = std::min(how.warm_up, total);
  for (int i = 0; i < warm_up; ++i) list.forward(chunk_at(i));
  for (int i = warm_up; i < total; ++i) {
    list.forward(chunk_at(i));
    backward(i - warm_up);
  }
  for (int i = total - warm_up; i < total; ++i) backward(i);
  while (list.num_put_off() > 0) list.oldest_weights();
}

/// The static form, best where F, B and W take the same time. It is written for at least 2p - 1
/// micro-batches.
void zb_v(RankList& list, const PipelineShape& shape, int rank) {
  const int p = shape.ranks, m = std::max(2 * p - 1, shape.micro_batches);
  for (int i = 0; i < 2 * (p - rank) - 1; ++i) list.forward(0);
  for (int i = 0; i < rank; ++i) {
    list.forward(1);
    list.forward(0);
  }
  const auto backward_of = [&](int chunk) {
    list.inputs(chunk);
    list.weights(chunk);
  };
  for (int i = 0; i < p - rank; ++i) {
    list.forward(1);
    backward_of(1);
  }
  while (list.num_forwards(1) < list.num_forwards(0) || list.num_forwards(0) < m) {
    if (list.num_forwards(0) < m) list.forward(0);
    backward_of(0);
    list.forward(1);
    backward_of(1);
  }
  for (int i = 0; i < rank; ++i) {
    list.inputs(0);
    list.inputs(1);
  }
  for (int i = 0; i < p - rank; ++i) backward_of(0);
  while (list.has_put_off(1)) list.weights(1);
  while (list.has_put_off(0)) list.weights(0);
}

/// The eight steps of dualpipev.py.
void dualpipe_v(RankList& list, const PipelineShape& shape, int rank) {
  const int p = shape.ranks, later = p - 1 - rank;      // ranks behind this one
  for (int i = 0; i < 2 * later; ++i) list.forward(0);  // 1
  for (int i = 0; i <= rank; ++i) {                     // 2
    list.forward(0);
    list.forward(1);
  }
  for (int i = 0; i < later; ++i) {  // 3
    list.inputs(1);
    list.oldest_weights();
    list.forward(1);
  }
  for (int i = 0; i < shape.micro_batches - 2 * p + rank + 1; ++i) {  // 4, the pairs
    list.forward(0);
    list.backward(1);
    list.forward(1);
    list.backward(0);
  }
  for (int i = 0; i < later; ++i) {  // 5
    list.backward(1);
    list.forward(1);
    list.backward(0);
  }
  // 6: backwards in turn, the second half of them without W. Of an odd number of turns' halves the
  // border lies between the two chunks.
  for (int i = 0; i < 2 * (rank + 1); ++i) {
    const int chunk = 1 - i % 2;
    if (i < rank + 1)
      list.backward(chunk);
    else
      list.inputs(chunk);
  }
  for (int i = 0; i < later; ++i) {  // 7
    list.oldest_weights();
    list.inputs(0);
  }
  for (int i = 0; i <= rank; ++i) list.oldest_weights();  // 8
}

}  // namespace

Schedule make_schedule(ScheduleKind kind, const PipelineShape& shape) {
  const Misfit misfit = misfit_of(kind, shape);
  if (!misfit.none())
    throw Error(ExitStatus::bad_configuration, misfit.first(), Met::by_every_rank);
  const int p = shape.ranks;
  Schedule schedule{
      .kind = kind,
      .placement = {.shape = Placement::Shape::loop, .ranks = p, .chunks = shape.chunks},
      .micro_batches = shape.micro_batches,
      .actions = {}};
  if (is_v_shaped(kind)) schedule.placement.shape = Placement::Shape::v;
  for (int rank = 0; rank < p; ++rank) {
    RankList list(schedule.placement, shape.micro_batches, rank);
    const int later = p - 1 - rank, chunks_before = (shape.chunks - 1) * p;
    switch (kind) {
      case ScheduleKind::gpipe:
        gpipe(list, shape);
        break;
      case ScheduleKind::one_f_one_b:
        one_forward_one_backward(list, shape, {.warm_up = later, .splits = false, .put_off = 0});
        break;
      case ScheduleKind::interleaved:
        one_forward_one_backward(
            list, shape, {.warm_up = 2 * later + chunks_before, .splits = false, .put_off = 0});
        break;
      case ScheduleKind::zb_h1:
      case ScheduleKind::zb1p:
        one_forward_one_backward(
            list, shape, {.warm_up = later + chunks_before, .splits = true, .put_off = rank});
        break;
      case ScheduleKind::zb_v:
        zb_v(list, shape, rank);
        break;
      case ScheduleKind::dualpipe_v:
        dualpipe_v(list, shape, rank);
        break;
    }
    schedule.actions.push_back(list.take());
  }
  return schedule;
}

}  // namespace espalier::pipeline
