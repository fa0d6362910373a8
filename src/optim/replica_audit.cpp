#include "optim/replica_audit.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <sstream>
#include <utility>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/text.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::optim {

using device::ConstView;
using parallel::LocalTensor;
using parallel::Span;

namespace {

/// Bytes of fp32 that are looked at together.
constexpr std::int64_t kPieceBytes = std::int64_t{4} << 20;
constexpr std::int64_t kFloatBytes = sizeof(float);

std::int64_t rows_of_piece(std::int64_t cols) {
  return std::max<std::int64_t>(1, kPieceBytes / (kFloatBytes * std::max<std::int64_t>(cols, 1)));
}

/// body(first row, rows) for each piece of a matrix.
template <class Body>
void for_pieces(std::int64_t rows, std::int64_t cols, Body&& body) {
  const std::int64_t at_once = rows_of_piece(cols);
  for (std::int64_t row = 0; row < rows; row += at_once) body(row, std::min(at_once, rows - row));
}

std::size_t size_of_view(const ConstView& view) {
  return static_cast<std::size_t>(view.size_bytes());
}

}  // namespace

ReplicaAudit::ReplicaAudit(device::Context& context, const parallel::ProcessGrid& grid,
                           parallel::GridCommunicators& communicators,
                           parallel::ParameterStore& store, AdamW& optimizer, int zero_stage)
    : context_(context), communicators_(communicators), store_(store), optimizer_(optimizer) {
  std::int64_t piece_bytes = 0;
  const auto add = [&](std::string part, const parallel::TensorSpec& spec, const ConstView& view,
                       bool is_everywhere) {
    const Span span = grid.simplest(spec.gradient_span);
    const Span holders = grid.simplest(parallel::holders(spec.shard));
    const bool is_tied = communicators.tied != nullptr && spec.tied_pipeline_rank >= 0 &&
                         parallel::is_on_stage(spec, grid.pipeline_rank());
    // Of a tied weight the ranks of the last stage count from those of the first.
    const int before = (grid.pipeline_rank() - spec.pipeline_rank) * grid.shape().stage_size();
    Item item{.part = std::move(part),
              .spec = &spec,
              .view = view,
              .in_gradient_group = is_everywhere && communicators.gradients.contains(span),
              .in_tensor_group = span != holders,
              .in_tied_group = is_tied,
              .first_holder = is_tied && !is_everywhere
                                  ? grid.first_of(Span::tied)
                                  : grid.first_of(is_everywhere ? holders : Span::tensor) -
                                        (is_tied ? before : 0)};
    ESPALIER_ASSERT(!item.in_tensor_group || spec.shard == parallel::ShardRule::none,
                    "{} is divided over the tensor ranks", spec.name);
    if (item.in_gradient_group) by_span_[span].push_back(items_.size());
    if (item.in_tied_group) by_tied_group_.push_back(items_.size());
    if (item.in_tensor_group) by_tensor_group_.push_back(items_.size());
    items_.push_back(std::move(item));
    piece_bytes = std::max(piece_bytes,
                           std::min(rows_of_piece(view.cols), view.rows) * view.cols * kFloatBytes);
  };
  for (const LocalTensor& tensor : store.tensors())
    add("weight", *tensor.spec, tensor.weight, /*is_everywhere=*/true);
  for (const StateShard& state : optimizer.state()) {
    const parallel::TensorSpec& spec = *store.tensor_of(state.shard).spec;
    // At stage 1 the ranks of the gradient's group own different rows.
    const bool is_everywhere = zero_stage == 0;
    if (!is_everywhere && spec.tied_pipeline_rank < 0 &&
        grid.simplest(spec.gradient_span) == grid.simplest(parallel::holders(spec.shard)))
      continue;
    add("master weight", spec, state.master, is_everywhere);
    add("moment 1", spec, state.m, is_everywhere);
    add("moment 2", spec, state.v, is_everywhere);
  }
  hashes_.resize(items_.size());
  for (std::vector<std::byte>* bytes : {&piece_, &master_, &rounded_})
    bytes->resize(static_cast<std::size_t>(piece_bytes));
}

std::uint64_t ReplicaAudit::hash_of(const ConstView& view) {
  BytesHash hash;
  for_pieces(view.rows, view.cols, [&](std::int64_t row, std::int64_t rows) {
    const ConstView piece = view.row_range(row, rows);
    context_.download(piece_.data(), piece);
    hash.add(std::span(piece_).first(size_of_view(piece)));
  });
  return hash.value();
}

bool ReplicaAudit::is_rounded_master(const StateShard& state) {
  const ConstView weight =
      store_.tensor_of(state.shard)
          .weight.row_range(state.shard.row_begin, state.shard.rectangle.rows());
  bool is_equal = true;
  for_pieces(weight.rows, weight.cols, [&](std::int64_t row, std::int64_t rows) {
    const ConstView piece = weight.row_range(row, rows);
    context_.download(piece_.data(), piece);
    context_.download(master_.data(), state.master.row_range(row, rows));
    kernels::cast(host_, {rounded_.data(), weight.dtype, rows, weight.cols, weight.cols},
                  {master_.data(), DType::f32, rows, weight.cols, weight.cols});
    is_equal = is_equal && std::memcmp(piece_.data(), rounded_.data(), size_of_view(piece)) == 0;
  });
  return is_equal;
}

void ReplicaAudit::compare(parallel::Communicator& group, const std::vector<std::size_t>& items,
                           std::vector<bool>& differs) {
  std::string mine;
  for (const std::size_t i : items)
    mine.append(reinterpret_cast<const char*>(&hashes_[i]), sizeof(hashes_[i]));
  const std::string first = group.broadcast(mine, 0);
  ESPALIER_ASSERT(first.size() == mine.size(), "{} bytes of hashes instead of {}", first.size(),
                  mine.size());
  for (std::size_t k = 0; k < items.size(); ++k)
    if (std::memcmp(&first[k * sizeof(std::uint64_t)], &mine[k * sizeof(std::uint64_t)],
                    sizeof(std::uint64_t)) != 0)
      differs[items[k]] = true;
}

std::vector<bool> ReplicaAudit::differing() {
  for (std::size_t i = 0; i < items_.size(); ++i)
    // A weight without a peer is compared with its master alone.
    hashes_[i] = items_[i].in_gradient_group || items_[i].in_tensor_group || items_[i].in_tied_group
                     ? hash_of(items_[i].view)
                     : 0;
  std::vector<bool> differs(items_.size(), false);
  for (const auto& [span, items] : by_span_)
    compare(*communicators_.gradients.at(span), items, differs);
  // All are equal when those of a gradient's group are equal to its first, and these firsts to that
  // of the first tensor rank.
  if (!by_tensor_group_.empty()) compare(*communicators_.tensor, by_tensor_group_, differs);
  if (!by_tied_group_.empty()) compare(*communicators_.tied, by_tied_group_, differs);
  for (const StateShard& state : optimizer_.state())
    if (!is_rounded_master(state)) differs[static_cast<std::size_t>(state.shard.tensor)] = true;
  return differs;
}

std::vector<AuditFinding> ReplicaAudit::run() {
  store_.wait_for_gathers(context_);
  const std::vector<bool> differs = differing();
  double count[] = {static_cast<double>(std::count(differs.begin(), differs.end(), true))};
  communicators_.world->all_reduce_sum(std::span<double>(count));
  return count[0] == 0.0 ? std::vector<AuditFinding>() : describe(differs);
}

// What follows is rare, so it may cost texts of all ranks.
std::vector<AuditFinding> ReplicaAudit::describe(const std::vector<bool>& differs) {
  const auto name_of = [](const Item& item) { return item.part + "\t" + item.spec->name; };
  std::string mine;
  for (std::size_t i = 0; i < items_.size(); ++i)
    if (differs[i]) mine += name_of(items_[i]) + "\n";
  std::set<std::string> names;
  for (const std::string& text : communicators_.world->all_gather(mine)) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) names.insert(line);
  }
  // The masters say what the weights should be: whose weights change when they are made anew had
  // wrong ones.
  std::vector<std::uint64_t> before(items_.size());
  const auto hash_named = [&](std::vector<std::uint64_t>& hashes) {
    for (std::size_t i = 0; i < items_.size(); ++i)
      if (names.contains(name_of(items_[i]))) hashes[i] = hash_of(items_[i].view);
  };
  hash_named(before);
  optimizer_.weights_from_master(context_);
  store_.gather(context_);
  std::vector<std::uint64_t> after(items_.size());
  hash_named(after);
  mine.clear();
  for (std::size_t i = 0; i < items_.size(); ++i)
    if (names.contains(name_of(items_[i])))
      mine += fmt::format("{} {} {} {}\n", items_[i].first_holder, before[i],
                          before[i] != after[i] ? 1 : 0, name_of(items_[i]));

  struct Holder {
    int rank;
    std::uint64_t hash;
  };
  std::map<std::pair<std::string, int>, std::vector<Holder>> holders;  // by name, first holder
  std::map<std::string, std::vector<int>> wrong;                       // as the masters say
  const std::vector<std::string> texts = communicators_.world->all_gather(mine);
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    std::istringstream lines(texts[rank]);
    int first = 0, is_wrong = 0;
    std::uint64_t hash = 0;
    for (std::string name;
         lines >> first >> hash >> is_wrong && lines.get() == ' ' && std::getline(lines, name);) {
      holders[{name, first}].push_back({narrow<int>(rank), hash});
      if (is_wrong != 0) wrong[name].push_back(narrow<int>(rank));
    }
  }
  std::vector<AuditFinding> findings;
  const auto add = [&](const std::string& name, std::vector<int> ranks, bool is_decided) {
    const std::size_t tab = name.find('\t');
    findings.push_back({.tensor = name.substr(tab + 1),
                        .part = name.substr(0, tab),
                        .ranks = std::move(ranks),
                        .is_decided = is_decided});
  };
  for (const auto& [name, ranks] : wrong) add(name, ranks, true);
  for (const auto& [key, group] : holders) {
    if (wrong.contains(key.first)) continue;
    std::vector<std::uint64_t> hashes;
    for (const Holder& holder : group) hashes.push_back(holder.hash);
    bool is_decided = true;
    std::vector<int> ranks;
    for (const std::size_t place : outvoted(hashes, is_decided)) ranks.push_back(group[place].rank);
    if (!ranks.empty()) add(key.first, ranks, is_decided);
  }
  return findings;
}

std::vector<std::size_t> outvoted(std::span<const std::uint64_t> hashes, bool& is_decided) {
  std::map<std::uint64_t, std::size_t> counts;
  for (const std::uint64_t hash : hashes) ++counts[hash];
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  is_decided = counts.size() <= 1 || 2 * most->second > hashes.size();
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < hashes.size(); ++i)
    if (!is_decided || hashes[i] != most->first) places.push_back(i);
  return places;
}

}  // namespace espalier::optim
