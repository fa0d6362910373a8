// What can be wrong with the lists of a schedule, apart from ranks that wait for each other.
#include <fmt/core.h>

#include <utility>

#include "parallel/schedule/schedule.hpp"

namespace espalier::pipeline {
namespace {

class Check {
 public:
  Check(const Schedule& schedule, std::size_t at_most)
      : schedule_(schedule), placement_(schedule.placement), at_most_(at_most) {}

  std::vector<std::string> run() {
    if (static_cast<int>(schedule_.actions.size()) != placement_.ranks) {
      add(fmt::format("{} lists for {} ranks", schedule_.actions.size(), placement_.ranks));
      return std::move(mistakes_);
    }
    forward_.resize(num_calls());
    inputs_.resize(num_calls());
    weights_.resize(num_calls());
    stages_.resize(static_cast<std::size_t>(placement_.num_stages()));
    for (int rank = 0; rank < placement_.ranks; ++rank) read(rank);
    for (int stage = 0; stage < placement_.num_stages(); ++stage) {
      for (int i = 0; i < schedule_.micro_batches; ++i) check_call(stage, i);
      check_orders(stage);
    }
    return std::move(mistakes_);
  }

 private:
  /// Where an action is in the list of its rank, counted from 1, and how often.
  struct Place {
    int at = 0, times = 0;
  };
  /// Micro-batches of a stage in the order of its rank's list.
  struct Orders {
    std::vector<int> forwards, backwards, weights;
  };

  std::size_t num_calls() const { return call(placement_.num_stages(), 0); }
  std::size_t call(int stage, int micro_batch) const {
    return static_cast<std::size_t>(stage) * static_cast<std::size_t>(schedule_.micro_batches) +
           static_cast<std::size_t>(micro_batch);
  }

  void add(std::string sentence) {
    if (mistakes_.size() < at_most_) mistakes_.push_back(std::move(sentence));
  }

  void read(int rank) {
    const std::vector<Action>& list = schedule_.actions[static_cast<std::size_t>(rank)];
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Action& a = list[i];
      if (a.stage < 0 || a.stage >= placement_.num_stages() || a.micro_batch < 0 ||
          a.micro_batch >= schedule_.micro_batches) {
        add(fmt::format("rank {}: {}: there are {} stages and {} micro-batches", rank, describe(a),
                        placement_.num_stages(), schedule_.micro_batches));
        continue;
      }
      if (placement_.rank_of(a.stage) != rank) {
        add(fmt::format("rank {}: {}: that stage is on rank {}", rank, describe(a),
                        placement_.rank_of(a.stage)));
        continue;
      }
      const auto note = [&](bool is_it, std::vector<Place>& places, std::vector<int>& order) {
        if (!is_it) return;
        Place& place = places[call(a.stage, a.micro_batch)];
        place.at = static_cast<int>(i) + 1;
        ++place.times;
        order.push_back(a.micro_batch);
      };
      Orders& orders = stages_[static_cast<std::size_t>(a.stage)];
      note(is_forward(a), forward_, orders.forwards);
      note(makes_input_gradients(a), inputs_, orders.backwards);
      note(makes_weight_gradients(a), weights_, orders.weights);
    }
  }

  void check_call(int stage, int i) {
    const std::string where = fmt::format("of stage {}, micro-batch {}", stage, i);
    const Place &f = forward_[call(stage, i)], &b = inputs_[call(stage, i)],
                &w = weights_[call(stage, i)];
    const auto once = [&](const Place& place, std::string_view what) {
      if (place.times != 1)
        add(fmt::format(
            "{} {} {}", what, where,
            place.times == 0 ? "is missing" : fmt::format("is there {} times", place.times)));
      return place.times == 1;
    };
    if (!(once(f, "F") && once(b, "B") && once(w, "W"))) return;
    if (b.at < f.at) add(fmt::format("B {} comes before its F", where));
    if (w.at < b.at) add(fmt::format("W {} comes before its B", where));
    if (stage + 1 >= placement_.num_stages() ||
        placement_.rank_of(stage + 1) != placement_.rank_of(stage))
      return;
    const Place &next_f = forward_[call(stage + 1, i)], &next_b = inputs_[call(stage + 1, i)];
    if (next_f.times == 1 && next_f.at < f.at)
      add(fmt::format("F {} comes after that of stage {}, which needs it", where, stage + 1));
    if (next_b.times == 1 && b.at < next_b.at)
      add(fmt::format("B {} comes before that of stage {}, which it needs", where, stage + 1));
  }

  void check_orders(int stage) {
    const Orders& orders = stages_[static_cast<std::size_t>(stage)];
    for (std::size_t i = 1; i < orders.weights.size(); ++i)
      if (orders.weights[i] < orders.weights[i - 1]) {
        add(fmt::format("weight gradients of stage {} do not ascend: micro-batch {} comes after {}",
                        stage, orders.weights[i], orders.weights[i - 1]));
        break;
      }
    if (stage + 1 >= placement_.num_stages()) return;
    const Orders& next = stages_[static_cast<std::size_t>(stage) + 1];
    if (orders.forwards != next.forwards)
      add(fmt::format("stages {} and {} take their forwards in different orders of micro-batches",
                      stage, stage + 1));
    if (orders.backwards != next.backwards)
      add(fmt::format("stages {} and {} take their backwards in different orders of micro-batches",
                      stage, stage + 1));
  }

  const Schedule& schedule_;
  const Placement& placement_;
  std::size_t at_most_;
  std::vector<Place> forward_, inputs_, weights_;  ///< by stage and micro-batch
  std::vector<Orders> stages_;
  std::vector<std::string> mistakes_;
};

}  // namespace

std::vector<std::string> mistakes_of(const Schedule& schedule, std::size_t at_most) {
  return Check(schedule, at_most).run();
}

}  // namespace espalier::pipeline
