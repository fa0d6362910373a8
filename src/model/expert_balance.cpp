#include "model/expert_balance.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "kernels/moe/dispatch.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using CommunicationStream = device::Context::CommunicationStream;

ExpertStatistics ExpertStatistics::none(const LocalSizes& sizes) {
  ExpertStatistics statistics;
  const std::int64_t blocks = sizes.num_sparse_layers();
  statistics.choices.resize(static_cast<std::size_t>(blocks * sizes.num_experts));
  statistics.losses.resize(static_cast<std::size_t>(2 * blocks));
  return statistics;
}

ExpertStatistics& ExpertStatistics::operator+=(const ExpertStatistics& other) {
  ESPALIER_ASSERT(choices.size() == other.choices.size(), "{} and {} experts", choices.size(),
                  other.choices.size());
  for (std::size_t i = 0; i < choices.size(); ++i) choices[i] += other.choices[i];
  for (std::size_t i = 0; i < losses.size(); ++i) losses[i] += other.losses[i];
  further_rounds += other.further_rounds;
  return *this;
}

void ExpertStatistics::append_to(std::vector<double>& values) const {
  if (!exist()) return;
  values.push_back(further_rounds);
  values.insert(values.end(), losses.begin(), losses.end());
  values.insert(values.end(), choices.begin(), choices.end());
}

ExpertStatistics ExpertStatistics::from(std::span<const double> values,
                                        const ExpertStatistics& of_rank) {
  ExpertStatistics statistics;
  if (values.empty()) return statistics;
  statistics.further_rounds = values[0];
  const auto losses = values.subspan(1, of_rank.losses.size());
  const auto choices = values.subspan(1 + losses.size());
  statistics.losses.assign(losses.begin(), losses.end());
  statistics.choices.assign(choices.begin(), choices.end());
  return statistics;
}

double ExpertStatistics::sum_of_losses(std::size_t column) const {
  double sum = 0.0;
  for (std::size_t i = column; i < losses.size(); i += 2) sum += losses[i];
  return sum;
}

ExpertLoad ExpertLoad::of(const ExpertStatistics& s, const Architecture& architecture) {
  ExpertLoad load;
  load.balance_loss = s.balance_loss();
  load.z_loss = s.z_loss();
  load.further_rounds = static_cast<std::int64_t>(s.further_rounds);
  const auto E = static_cast<std::size_t>(architecture.num_experts);
  std::size_t begin = 0;
  for (std::int64_t layer = 0; layer < architecture.num_layers; ++layer) {
    if (!architecture.is_sparse(layer)) continue;
    const auto choices = std::span(s.choices).subspan(begin, E);
    begin += E;
    const double sum = std::accumulate(choices.begin(), choices.end(), 0.0);
    const double most = *std::max_element(choices.begin(), choices.end());
    load.num_dead += std::count(choices.begin(), choices.end(), 0.0);
    load.blocks.push_back({layer, sum > 0.0 ? most * static_cast<double>(E) / sum : 0.0});
  }
  return load;
}

const ExpertLoad::OfBlock& ExpertLoad::busiest() const {
  return *std::max_element(blocks.begin(), blocks.end(), [](const OfBlock& a, const OfBlock& b) {
    return a.largest < b.largest;
  });
}

std::string ExpertLoad::describe() const {
  const OfBlock& most = busiest();
  std::string text = fmt::format("busiest expert {:.2f} of the mean (block {}), {} not chosen",
                                 most.largest, most.layer, num_dead);
  if (balance_loss > 0.0) text += fmt::format(", balance loss {:.3e}", balance_loss);
  if (z_loss > 0.0) text += fmt::format(", z-loss {:.3e}", z_loss);
  if (further_rounds > 0) text += fmt::format(", {} further rounds", further_rounds);
  return text;
}

ExpertBalance::ExpertBalance(const LocalSizes& sizes, const ActivationShape& shape,
                             const ExpertScratch& scratch, device::Context& context,
                             parallel::GridCommunicators& communicators)
    : sizes_(sizes),
      shape_(shape),
      s_(scratch),
      context_(context),
      comm_(communicators),
      summed_(ExpertStatistics::none(sizes).choices),
      all_(static_cast<std::size_t>(sizes.num_experts)),
      upload_(all_.size()),
      statistics_(ExpertStatistics::none(sizes)) {}

void ExpertBalance::begin(std::span<const OfBlock> blocks, bool first, double num_sequences) {
  num_sequences_ = num_sequences;
  const auto num_experts = static_cast<std::size_t>(sizes_.num_experts);
  now_.resize(blocks.size() * num_experts);
  rows_of_now_.resize(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const OfBlock& block = blocks[i];
    rows_of_now_[i] = block.number;
    double* const choices =
        statistics_.choices.data() + static_cast<std::size_t>(block.number) * num_experts;
    for (std::size_t e = 0; e < num_experts; ++e) {
      now_[i * num_experts + e] = static_cast<double>(block.counts[e]);
      choices[e] += now_[i * num_experts + e];
    }
    if (!comm_.expert || comm_.expert->rank() == 0)
      statistics_.further_rounds += static_cast<double>(block.num_rounds - 1);
  }
  const BalanceScope scope = shape_.experts.balance;
  if (num_sequences == 0.0 || scope == BalanceScope::none || scope == BalanceScope::sequence)
    return;
  const auto sum_over = [&](parallel::Communicator* group) {
    if (group == nullptr || group->size() == 1) return;
    const auto phase = context_.profiler().scope(Phase::expert_communication);
    group->all_reduce_sum(std::span<double>(now_));
  };
  if (scope == BalanceScope::global) {
    sum_over(stage_group());
  } else {
    sum_over(comm_.tensor.get());
    sum_over(comm_.context.get());
  }
  if (scope == BalanceScope::huggingface) {
    std::fill(all_.begin(), all_.end(), 0.0);
    for (std::size_t i = 0; i < now_.size(); ++i) all_[i % num_experts] += now_[i];
  }
  if (scope != BalanceScope::global) return;
  if (first) {
    std::fill(summed_.begin(), summed_.end(), 0.0);
    num_micro_batches_ = 0.0;
  }
  num_micro_batches_ += 1.0;
  for (std::size_t i = 0; i < now_.size(); ++i)
    summed(rows_of_now_[i / num_experts], static_cast<std::int64_t>(i % num_experts)) += now_[i];
}

ExpertBalance::OfLogits ExpertBalance::of_block(std::int64_t number, ConstView chosen) {
  OfLogits of{.counts = {},
              .place = {.first_token =
                            shape_.splits_tokens ? comm_.tensor->rank() * shape_.local_tokens() : 0,
                        .tokens_per_sequence = shape_.local_length()},
              .balance_scale = 0.0F,
              .z_scale = 0.0F};
  if (num_sequences_ == 0.0) return of;
  of.z_scale = static_cast<float>(2.0 * shape_.experts.z_loss_coefficient /
                                  (num_sequences_ * static_cast<double>(shape_.sequence_length)));
  if (shape_.experts.balance == BalanceScope::none) return of;
  of.balance_scale = static_cast<float>(balance_scale());
  of.counts = s_.balance_counts;
  if (shape_.experts.balance == BalanceScope::sequence) {
    {
      const auto phase = context_.profiler().scope(Phase::router);
      kernels::count_choices(context_,
                             {.experts = chosen, .place = of.place, .counts = s_.balance_counts});
    }
    const auto phase = context_.profiler().scope(Phase::expert_communication);
    if (shape_.splits_tokens) comm_.tensor->all_reduce_sum(s_.balance_counts);
    if (comm_.context != nullptr) {
      context_.fork_communication(CommunicationStream::context);
      comm_.context->all_reduce_sum(s_.balance_counts);
      context_.join_communication(CommunicationStream::context);
    }
    return of;
  }
  const auto row = std::find(rows_of_now_.begin(), rows_of_now_.end(), number);
  ESPALIER_ASSERT(row != rows_of_now_.end(), "block {} was not begun", number);
  const auto first = (row - rows_of_now_.begin()) * sizes_.num_experts;
  for (std::int64_t e = 0; e < sizes_.num_experts; ++e) {
    const auto i = static_cast<std::size_t>(e);
    const double count = shape_.experts.balance == BalanceScope::global
                             ? summed(number, e) / num_micro_batches_
                         : shape_.experts.balance == BalanceScope::huggingface
                             ? all_[i]
                             : now_[static_cast<std::size_t>(first) + i];
    upload_[i] = static_cast<float>(count);
  }
  const auto phase = context_.profiler().scope(Phase::router);
  context_.upload(s_.balance_counts, upload_.data());
  return of;
}

// With G sequences in a step, M micro-batches of B of them on each of d data ranks: G = M B d.
double ExpertBalance::balance_scale() const {
  const auto E = static_cast<double>(sizes_.num_experts);
  const auto k = static_cast<double>(sizes_.experts_per_token);
  const auto S = static_cast<double>(shape_.sequence_length);
  const auto B = static_cast<double>(shape_.micro_batch_size);
  const double T = B * S, c = shape_.experts.balance_coefficient;
  const double micro_batches = num_sequences_ / B;  // of all data ranks
  switch (shape_.experts.balance) {
    case BalanceScope::none:
      return 0.0;
    case BalanceScope::sequence:
      return c * E / (k * S * S * num_sequences_);
    case BalanceScope::batch:
      return c * E / (k * T * T * micro_batches);
    case BalanceScope::global: {
      const auto d = static_cast<double>(data_size());
      return c * E / (k * (T * d) * (T * d) * (micro_batches / d));
    }
    case BalanceScope::huggingface: {
      const double all = T * static_cast<double>(sizes_.num_sparse_layers());
      return c * E / (all * all * micro_batches);
    }
  }
  return 0.0;
}

// Its ranks are those of the largest of the groups that gradients are summed over: the router's.
parallel::Communicator* ExpertBalance::stage_group() const {
  using parallel::Span;
  for (const Span span : {Span::tokens, Span::kv_tokens, Span::tokens_shared}) {
    const auto found = comm_.gradients.find(span);
    if (found != comm_.gradients.end()) return found->second.get();
  }
  return nullptr;
}

std::int64_t ExpertBalance::data_size() const {
  const parallel::Communicator* const group = stage_group();
  if (group == nullptr) return 1;
  return group->size() / comm_.tensor->size() / shape_.context_size;
}

ExpertStatistics ExpertBalance::take() {
  statistics_.losses = context_.download<double>(s_.balance_sums);
  const std::vector<double> zero(statistics_.losses.size());
  context_.upload(s_.balance_sums, zero.data());
  ExpertStatistics taken = statistics_;
  std::fill(statistics_.choices.begin(), statistics_.choices.end(), 0.0);
  statistics_.further_rounds = 0.0;
  return taken;
}

}  // namespace espalier::model
