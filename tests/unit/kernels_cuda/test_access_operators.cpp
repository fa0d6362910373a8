// What every operator asks of memory at the widths of a small model, in bf16: sectors beside bytes
// asked for, bytes moved beside the floor of cost.hpp, wavefronts of shared memory beside the
// fewest. validation/kernel_access records the table.
#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "access_problems.hpp"
#include "emulation/access_counter.hpp"
#include "emulation/faults.hpp"
#include "kernels/attention/attention_shapes.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/moe/grouped_kernels.hpp"
#include "kernels/operator_list.hpp"

namespace espalier::testing {
namespace {

using emulation::access_counts;
using emulation::settings;
using kernels::Cost;
namespace emulated = kernels::emulated;

/// What an operator does beside the least: every byte of the floor once, in whole sectors, without
/// conflicts. It follows from shapes and kernels; what is counted may differ by half a percent.
struct Beside {
  std::int64_t asked = 0;       ///< bytes asked for beyond the floor
  std::int64_t unused = 0;      ///< bytes of touched sectors that nobody asked for
  std::int64_t wavefronts = 0;  ///< of shared memory beyond the fewest
};

/// Of `count` requests for one number of `bytes` bytes each, which bring a sector.
constexpr std::int64_t unused_of_numbers(std::int64_t count, std::int64_t bytes = 4) {
  return count * (32 - bytes);
}

void print_header() {
  fmt::print("| {:<29} | {:>9} | {:>7} | {:>8} | {:>9} | {:>9} |\n", "operator", "asked KiB",
             "sectors", "to floor", "shared KW", "conflicts");
}

/// Counts what run() does, prints the row and checks it.
void check(const char* name, const Cost& floor, const Beside& beside,
           const std::function<void()>& run) {
  access_counts() = {};
  settings().count_accesses = true;
  run();
  settings().count_accesses = false;
  const auto device = access_counts().device();
  const auto shared = access_counts().shared();
  const auto moved = static_cast<double>(device.sectors) * 32.0;
  fmt::print("| {:<29} | {:>9.1f} | {:>7.2f} | {:>8.2f} | {:>9.1f} | {:>9.2f} |\n", name,
             static_cast<double>(device.bytes) / 1024.0, device.sector_factor(),
             moved / floor.bytes, static_cast<double>(shared.wavefronts) / 1024.0,
             shared.conflict_factor());
  CAPTURE(name, floor.bytes, device.bytes, moved, shared.wavefronts, shared.fewest);
  constexpr double kTolerance = 0.005;
  const auto asked = floor.bytes + static_cast<double>(beside.asked);
  CHECK_THAT(static_cast<double>(device.bytes), Catch::WithinRel(asked, kTolerance));
  CHECK_THAT(moved, Catch::WithinRel(asked + static_cast<double>(beside.unused), kTolerance));
  CHECK(shared.wavefronts == shared.fewest + beside.wavefronts);
}

/// The same with the operator's own cost.
template <class Operator, class Arguments>
void check(const char* name, const Beside& beside, const Operator& run, const Arguments& a) {
  TestQueue queue;
  check(name, kernels::cost_of(a), beside, [&] { run(queue, a); });
}

constexpr std::int64_t kTokens = 64;
constexpr std::int64_t kHidden = 1024, kIntermediate = 3072, kVocabulary = 4096;

}  // namespace

TEST_CASE("memory traffic: element by element", "[access][table]") {
  const AlignedMatrices aligned;
  TestQueue queue;
  print_header();
  Matrix<bf16> gate_up = numbers("gate_up", kTokens, 2 * kIntermediate),
               d_gate_up(kTokens, 2 * kIntermediate), out(kTokens, kIntermediate),
               d_out = numbers("d_out", kTokens, kIntermediate), d_x(kTokens, kIntermediate);
  constexpr Beside kNothing;
  check("swiglu_forward", kNothing, emulated::swiglu_forward,
        kernels::SwigluForward{gate_up.view(), out.view()});
  check("swiglu_backward", kNothing, emulated::swiglu_backward,
        kernels::SwigluBackward{gate_up.view(), d_out.view(), d_gate_up.view(), out.view()});
  check("gelu_forward", kNothing, emulated::gelu_forward,
        kernels::GeluForward{d_out.view(), out.view()});
  check("gelu_backward", kNothing, emulated::gelu_backward,
        kernels::GeluBackward{d_out.view(), d_out.view(), d_x.view(), out.view()});
  Matrix<float> master(kTokens, kHidden), gradient(kTokens, kHidden), m(kTokens, kHidden),
      v(kTokens, kHidden);
  Matrix<bf16> weight(kTokens, kHidden);
  const kernels::AdamW step{.gradient = gradient.view(),
                            .master = master.view(),
                            .m = m.view(),
                            .v = v.view(),
                            .weight = weight.view(),
                            .learning_rate = 0.1f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .weight_decay = 0.1f,
                            .gradient_scale = 0.5f,
                            .step = 3};
  const std::span<const kernels::AdamW> steps(&step, 1);
  check("adamw", kernels::cost_of_adamw(steps), kNothing, [&] { emulated::adamw(queue, steps); });
  check("cast to bf16", kernels::cost_of_cast(weight.view(), master.view()), kNothing,
        [&] { emulated::cast(queue, weight.view(), master.view()); });
  check("cast to f32", kernels::cost_of_cast(master.view(), weight.view()), kNothing,
        [&] { emulated::cast(queue, master.view(), weight.view()); });
  const kernels::ResidualAdd add{.x = m.view(), .delta = v.view(), .out = m.view()};
  check("residual_add", cost_of(add), kNothing, [&] { emulated::residual_add(queue, add); });
  check("set_zero", kernels::cost_of_set_zero(m.view()), kNothing,
        [&] { emulated::set_zero(queue, m.view()); });
  double squares = 0.0;
  const device::ConstView one = gradient.view();
  check("sums_of_squares", kernels::cost_of_sum_of_squares(one), kNothing, [&] {
    emulated::sums_of_squares(queue, device::view_of(&squares, 1, 1), {&one, 1});
  });
}

TEST_CASE("memory traffic: norms", "[access][table]") {
  const AlignedMatrices aligned;
  Matrix<bf16> x = numbers("x", kTokens, kHidden), delta = numbers("delta", kTokens, kHidden),
               weight = numbers("weight", 1, kHidden), bias = numbers("bias", 1, kHidden),
               residual(kTokens, kHidden), y(kTokens, kHidden),
               dy = numbers("dy", kTokens, kHidden), dx(kTokens, kHidden);
  Matrix<float> inverse_rms(1, kTokens), statistics(2, kTokens), d_weight(1, kHidden),
      d_bias(1, kHidden);
  // Two warps to a row, slices of four rows. Weights are looked at in every row, or once for a
  // slice; sums over a slice are written, eight floats by a lane in two requests, which use half of
  // their sectors each, and read.
  constexpr std::int64_t kWeight = 2 * kHidden, kSums = 4 * kHidden, kSlices = kTokens / 4;
  check("rmsnorm_forward", {.asked = kTokens * kWeight, .unused = unused_of_numbers(kTokens)},
        emulated::rmsnorm_forward,
        kernels::RmsNormForward{x.view(), delta.view(), weight.view(), residual.view(), y.view(),
                                inverse_rms.view(), 1e-6f});
  check("rmsnorm_backward",
        {.asked = kSlices * (kWeight + 2 * kSums),
         .unused = kSlices * kSums + unused_of_numbers(2 * kTokens)},
        emulated::rmsnorm_backward,
        kernels::RmsNormBackward{dy.view(), x.view(), weight.view(), inverse_rms.view(),
                                 delta.view(), dx.view(), d_weight.view()});
  check("layernorm_forward",
        {.asked = kTokens * 2 * kWeight, .unused = unused_of_numbers(2 * kTokens)},
        emulated::layernorm_forward,
        kernels::LayerNormForward{x.view(), delta.view(), weight.view(), bias.view(),
                                  residual.view(), y.view(), statistics.view(), 1e-6f});
  check("layernorm_backward",
        {.asked = kSlices * (kWeight + 4 * kSums),
         .unused = kSlices * 2 * kSums + unused_of_numbers(4 * kTokens)},
        emulated::layernorm_backward,
        kernels::LayerNormBackward{dy.view(), x.view(), weight.view(), statistics.view(),
                                   delta.view(), dx.view(), d_weight.view(), d_bias.view()});
  check("bias_backward", {.asked = kSlices * 2 * kSums, .unused = kSlices * kSums},
        emulated::bias_backward, kernels::BiasBackward{dy.view(), d_bias.view()});
}

TEST_CASE("memory traffic: QK-norm and RoPE", "[access][table]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kQ = 8, kKv = 4;
  Matrix<bf16> qkv = numbers("qkv", kTokens, (kQ + 2 * kKv) * kHeadDim),
               qk(kTokens, (kQ + kKv) * kHeadDim), d_qkv(kTokens, (kQ + 2 * kKv) * kHeadDim),
               q_weight = numbers("q_weight", 1, kHeadDim),
               k_weight = numbers("k_weight", 1, kHeadDim);
  Matrix<float> cos(kTokens, kHeadDim / 2), sin(kTokens, kHeadDim / 2), d_q(1, kHeadDim),
      d_k(1, kHeadDim);
  std::vector<std::int32_t> order(kTokens);
  std::iota(order.begin(), order.end(), 0);
  Ids<std::int32_t> positions(order);
  // A warp has four heads of one token and looks at the token's angles, as floats, eight by a lane
  // in two requests, which use half of their sectors each; at its position; at one weight.
  constexpr std::int64_t kAngles = 4 * kHeadDim, kWeight = 2 * kHeadDim;
  constexpr std::int64_t kWarps = kTokens * (kQ + kKv) / 4;
  constexpr std::int64_t kUnused = kWarps * kAngles + unused_of_numbers(kWarps);
  check("qk_norm_rope_forward", {.asked = kWarps * (kAngles + 4 + kWeight), .unused = kUnused},
        emulated::qk_norm_rope_forward,
        kernels::QkNormRopeForward{qkv.view(),
                                   q_weight.view(),
                                   k_weight.view(),
                                   positions.view(),
                                   {cos.view(), sin.view()},
                                   qk.view(),
                                   kQ,
                                   kKv,
                                   kHeadDim,
                                   1e-6f});
  // At its weight twice; the weights' sums over four tokens are written and read, and added to the
  // gradients. Before, 16 groups of lanes leave theirs in shared memory, eight floats by a lane:
  // that meets every second bank twice, once in a block's life.
  constexpr std::int64_t kSlices = kTokens / 4, kSums = 2 * 4 * kHeadDim;
  check("qk_norm_rope_backward",
        {.asked = kWarps * (kAngles + 4 + 2 * kWeight) + (kSlices + 1) * 2 * kSums,
         .unused = kUnused,
         .wavefronts = kSlices * 16 * kSums / 128},
        emulated::qk_norm_rope_backward,
        kernels::QkNormRopeBackward{qk.view(),
                                    qkv.view(),
                                    q_weight.view(),
                                    k_weight.view(),
                                    positions.view(),
                                    {cos.view(), sin.view()},
                                    d_qkv.view(),
                                    d_q.view(),
                                    d_k.view(),
                                    kQ,
                                    kKv,
                                    kHeadDim,
                                    1e-6f});
}

TEST_CASE("memory traffic: tables and batches", "[access][table]") {
  const AlignedMatrices aligned;
  std::vector<std::uint32_t> ids(kTokens);
  std::vector<std::int32_t> places(kTokens);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    ids[t] = static_cast<std::uint32_t>(t * 37 % 101);  // no two are the same
    places[t] = static_cast<std::int32_t>(ids[t]);
  }
  Ids<std::uint32_t> tokens(ids);
  Ids<std::int32_t> positions(places);
  Matrix<bf16> table = numbers("table", 128, kHidden), x = numbers("x", kTokens, kHidden);
  Matrix<float> d_table(128, kHidden);
  // Each of a row's two warps asks for the id.
  constexpr Beside kGather{.asked = 4 * kTokens, .unused = unused_of_numbers(2 * kTokens)};
  // Each of a row's four warps asks for six sorted keys: where the run begins and ends, and, for
  // each of its two packs, whose row comes.
  constexpr std::int64_t kKeys = kTokens * 4 * 6;
  constexpr Beside kScatter{.asked = 8 * kKeys, .unused = unused_of_numbers(kKeys, 8)};
  check("embedding_forward", kGather, emulated::embedding_forward,
        kernels::EmbeddingForward{tokens.view(), table.view(), 0, x.view()});
  check("embedding_backward", kScatter, emulated::embedding_backward,
        kernels::EmbeddingBackward{tokens.view(), x.view(), 0, d_table.view(), {}});
  check("positions_forward", kGather, emulated::positions_forward,
        kernels::PositionsForward{positions.view(), table.view(), x.view()});
  check("positions_backward", kScatter, emulated::positions_backward,
        kernels::PositionsBackward{positions.view(), x.view(), d_table.view()});

  constexpr std::int64_t kSamples = 4, kLength = 256;
  Matrix<std::uint32_t> samples(kSamples, kLength + 1);
  Matrix<std::int32_t> document_positions(kSamples, kLength + 1);
  for (std::int64_t s = 0; s < kSamples; ++s)
    for (std::int64_t t = 0; t <= kLength; ++t)
      document_positions.at(s, t) = static_cast<std::int32_t>(t % 50);
  Ids<std::uint32_t> inputs(std::vector<std::uint32_t>(kSamples * kLength)),
      targets(std::vector<std::uint32_t>(kSamples * kLength));
  Ids<std::int32_t> input_positions(std::vector<std::int32_t>(kSamples * kLength)),
      document_start(std::vector<std::int32_t>(kSamples * kLength));
  // A word is one token's own and the next of another. Rows of 257 words begin anywhere: all
  // requests of 32 words touch five sectors, except for the first row's own ones.
  constexpr std::int64_t kRequests = 2 * kSamples * kLength / 32;
  check("batch_inputs",
        {.asked = 2 * kSamples * (kLength - 1) * 4,
         .unused = 32 * (2 * kRequests - kRequests / kSamples)},
        emulated::batch_inputs,
        kernels::BatchInputs{.samples = samples.view(),
                             .document_positions = document_positions.view(),
                             .num_counted = kSamples,
                             .predict_across = false,
                             .tokens = inputs.view(),
                             .targets = targets.view(),
                             .position_ids = input_positions.view(),
                             .document_start = document_start.view()});
}

TEST_CASE("memory traffic: cross-entropy", "[access][table]") {
  const AlignedMatrices aligned;
  TestQueue queue;
  Matrix<bf16> logits = numbers("logits", kTokens, kVocabulary);
  Matrix<float> statistics(kTokens, 3), loss(1, kTokens), lse(1, kTokens);
  std::vector<std::uint32_t> ids(kTokens);
  for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = static_cast<std::uint32_t>(t * 61);
  Ids<std::uint32_t> targets(ids);
  // One thread asks for the target and its logit, and writes three numbers.
  check("cross_entropy_statistics",
        {.asked = 2 * kTokens,
         .unused = unused_of_numbers(4 * kTokens) + unused_of_numbers(kTokens, 2)},
        emulated::cross_entropy_statistics,
        kernels::CrossEntropyStatistics{logits.view(), targets.view(), 0, kVocabulary,
                                        statistics.view()});
  // A thread per token: of three numbers side by side each request takes one, the maximum twice.
  check(
      "cross_entropy_combine", {.asked = 4 * kTokens, .unused = 4 * 8 * kTokens},
      emulated::cross_entropy_combine,
      kernels::CrossEntropyCombine{statistics.view(), targets.view(), 1, loss.view(), lse.view()});
  // Eight warps to a row ask for its target and its sum.
  check("cross_entropy_backward",
        {.asked = 7 * 8 * kTokens, .unused = unused_of_numbers(16 * kTokens)},
        emulated::cross_entropy_backward,
        kernels::CrossEntropyBackward{logits.view(), targets.view(), lse.view(), 0, kVocabulary,
                                      0.5f});
  double sum = 0.0;
  check("add_losses", kernels::cost_of_add_losses(loss.view()),
        {.asked = 16, .unused = unused_of_numbers(2, 8)},
        [&] { emulated::add_losses(queue, device::view_of(&sum, 1, 1), loss.view()); });
}

TEST_CASE("memory traffic: attention", "[access][table]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kQ = Attention::kQ, kKv = Attention::kKv, kLength = 256;
  Attention attention(kLength);
  const auto forward = attention.forward();
  const auto backward = attention.backward();
  // Blocks own `own` queries, or keys, and all that these see, or are seen by, passes by: rows of
  // 256 bytes of two matrices for both heads.
  constexpr auto kPassing = [](std::int64_t own) {
    const std::int64_t tiles = kLength / own;
    return tiles * (tiles + 1) / 2 * own * 2 * 256 * kQ;
  };
  constexpr std::int64_t kQueries = kQ * kLength * 256, kKeys = kKv * kLength * 256;
  constexpr std::int64_t kRows = kQ * kLength;  // a number each: lse, delta
  constexpr auto kForward = [=](std::int64_t own) { return kPassing(own) - 2 * kKeys; };
  check("attention_forward_mma", {.asked = kForward(64)}, emulated::attention_forward_mma, forward);
  check("attention_forward_wgmma", {.asked = kForward(128)}, emulated::attention_forward_wgmma,
        forward);
  // Of 32 rows, fp32 in shared memory: eight floats by a lane meet every second bank twice when
  // rows are written there. A lane writes lse alone.
  constexpr auto kCopied = [=](std::int64_t bytes) { return bytes * 2 / 128; };
  check("attention_forward_reference",
        {.asked = kForward(32),
         .unused = unused_of_numbers(kRows),
         .wavefronts = kCopied(kQueries + kPassing(32))},
        emulated::attention_forward_reference, forward);

  // First delta is made of o and d_o, each of its numbers written alone. Then q and d_o pass by the
  // keys, each query's lse and delta asked for by `warps` of a block's warps (by all, or by one
  // that brings them for the warpgroups), and k and v pass by the queries.
  constexpr auto kBackward = [=](std::int64_t own, std::int64_t warps) {
    const std::int64_t passing_queries = kPassing(own) / 512;
    return kQueries + 2 * kPassing(own) + passing_queries * 8 * warps + 2 * 4 * kRows;
  };
  constexpr std::int64_t kDelta = unused_of_numbers(kRows);
  check("attention_backward_mma", {.asked = kBackward(64, 4), .unused = kDelta},
        emulated::attention_backward_mma, backward);
  // With no more scratch than delta takes: seven products.
  auto in_seven_products = backward;
  in_seven_products.scratch = attention.scratch.view().col_range(0, kRows);
  check("attention_backward_wgmma", {.asked = kBackward(128, 1), .unused = kDelta},
        emulated::attention_backward_wgmma, in_seven_products);
  // In five products keys and values do not pass by. But for each pair of tiles dQ is added to, in
  // fp32, and read at the end: the same bytes.
  Matrix<float> scratch(1, kernels::ordered_scratch(attention.shape).num_elements);
  auto in_five_products = backward;
  in_five_products.scratch = scratch.view();
  check("attention_backward_wgmma, five products", {.asked = kBackward(128, 1), .unused = kDelta},
        emulated::attention_backward_wgmma, in_five_products);
  check("attention_backward_reference",
        {.asked = kBackward(32, 8),
         .unused = kDelta + unused_of_numbers(2 * kRows),
         .wavefronts = kCopied(2 * kQueries + 2 * kKeys + 2 * kPassing(32))},
        emulated::attention_backward_reference, backward);
}

TEST_CASE("memory traffic: experts", "[access][table]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kExperts = 128, kChosen = 8, kWidth = 768, kPairs = kTokens * kChosen;
  Matrix<float> logits(kTokens, kExperts), p(kTokens, kExperts), lse(1, kTokens),
      weights(kTokens, kChosen), d_weights(kTokens, kChosen), d_logits(kTokens, kExperts),
      counts(1, kExperts);
  logits.randomize("logits");
  std::vector<std::int32_t> chosen(kPairs);
  std::iota(chosen.begin(), chosen.end(), 0);
  for (std::int32_t& expert : chosen) expert %= kExperts;
  Ids<std::int32_t> experts(chosen), order(chosen), place(chosen);
  const auto pairs = [&](Ids<std::int32_t>& numbers) {
    return device::View{numbers.view().data, DType::i32, kTokens, kChosen, kChosen};
  };
  // A warp per token writes, or asks for, its log_sum_exp, and asks for the counts.
  check("router_forward", {.unused = unused_of_numbers(kTokens)}, emulated::router_forward,
        kernels::RouterForward{.logits = logits.view(),
                               .bias = {},
                               .normalize = true,
                               .probabilities = p.view(),
                               .log_sum_exp = lse.view(),
                               .experts = pairs(experts),
                               .weights = weights.view()});
  constexpr std::int64_t kCounts = kTokens * kExperts * 4;
  check("router_backward", {.asked = kCounts, .unused = unused_of_numbers(kTokens)},
        emulated::router_backward,
        kernels::RouterBackward{.probabilities = p.view(),
                                .log_sum_exp = lse.view(),
                                .experts = pairs(experts),
                                .weights = weights.view(),
                                .normalize = true,
                                .d_weights = d_weights.view(),
                                .counts = counts.view(),
                                .place = {},
                                .d_logits = d_logits.view()});
  // Two sums of each slice of four tokens are written, read side by side, and added to.
  constexpr std::int64_t kSlices = kTokens / 4;
  Ids<double> sums(std::vector<double>(2));
  check(
      "balance_loss",
      {.asked = kCounts + 2 * 16 * kSlices + 32,
       .unused = unused_of_numbers(kTokens) + unused_of_numbers(2 * kSlices + 4, 8) + 16 * kSlices},
      emulated::balance_loss,
      kernels::BalanceLoss{.probabilities = p.view(),
                           .log_sum_exp = lse.view(),
                           .counts = counts.view(),
                           .place = {},
                           .sums = sums.view()});

  // Experts side by side, as they are here in every four tokens, come in whole sectors; their four
  // pairs each lie together in the order, which a warp writes in steps of 16 bytes. Asked for twice
  // are the experts, the ranks that were left in place, and of each pair where its expert's and its
  // block's pairs begin; of the one block the counts are written, read and written again.
  for (std::size_t i = 0; i < chosen.size(); ++i)
    chosen[i] = static_cast<std::int32_t>(i % kExperts);
  Ids<std::int32_t> sorted_counts({chosen.begin(), chosen.begin() + kExperts});
  Ids<std::int32_t> in_turn(chosen);
  check("sort_by_expert", {.asked = 4 * (5 * kPairs + 4 * kExperts), .unused = 12 * kPairs},
        emulated::sort_by_expert,
        kernels::SortByExpert{.experts = pairs(in_turn),
                              .order = order.view(),
                              .place = pairs(place),
                              .counts = sorted_counts.view()});
  check("count_choices", {.asked = 2 * 4 * kExperts}, emulated::count_choices,
        kernels::CountChoices{.experts = pairs(in_turn), .place = {}, .counts = counts.view()});

  Matrix<bf16> x = numbers("x", kTokens, kHidden), rows(kPairs, kHidden), out(kTokens, kHidden);
  // Each of a row's two warps asks for the row's place.
  check("gather_rows", {.asked = 4 * kPairs, .unused = unused_of_numbers(2 * kPairs)},
        emulated::gather_rows,
        kernels::GatherRows{
            .in = x.view(), .index = order.view(), .divisor = kChosen, .out = rows.view()});
  check("combine_rows", {}, emulated::combine_rows,
        kernels::CombineRows{.rows = rows.view(),
                             .place = pairs(place),
                             .weights = weights.view(),
                             .add = x.view(),
                             .out = out.view()});
  Matrix<bf16> gate_up = numbers("gate_up", kPairs, 2 * kWidth), d_gate_up(kPairs, 2 * kWidth),
               d_hidden = numbers("d_hidden", kPairs, kWidth), hidden(kPairs, kWidth);
  Matrix<float> row_weights(kPairs, 1), d_row_weights(kPairs, 1);
  // And for its weight; one thread writes the weight's gradient.
  check("expert_swiglu_backward", {.asked = 4 * kPairs, .unused = unused_of_numbers(3 * kPairs)},
        emulated::expert_swiglu_backward,
        kernels::ExpertSwigluBackward{gate_up.view(), d_hidden.view(), row_weights.view(),
                                      d_gate_up.view(), hidden.view(), d_row_weights.view()});
}

TEST_CASE("memory traffic: grouped products", "[access][table]") {
  const AlignedMatrices aligned;
  // Two groups, of three and one times 64 rows, with weights (256, 256).
  constexpr std::int64_t kSide = 256, kRows = 256, kGroups = 2;
  const std::vector<std::int64_t> offsets = {0, 192, 256};
  Matrix<bf16> x = numbers("x", kRows, kSide), dy = numbers("dy", kRows, kSide),
               w = numbers("w", kGroups * kSide, kSide), y(kRows, kSide), dx(kRows, kSide);
  Matrix<float> dw(kGroups * kSide, kSide);
  const kernels::GroupedForward forward{x.view(), w.view(), offsets, y.view()};
  const kernels::GroupedBackwardInput input{dy.view(), w.view(), offsets, dx.view()};
  const kernels::GroupedBackwardWeight weight{dy.view(), x.view(), offsets, dw.view()};
  using kernels::GroupedKind;
  using kernels::GroupedProblem;
  const GroupedProblem problems[] = {
      {GroupedKind::forward, x.view(), w.view(), y.view(), offsets},
      {GroupedKind::backward_input, dy.view(), w.view(), dx.view(), offsets},
      {GroupedKind::backward_weight, dy.view(), x.view(), dw.view(), offsets, true}};
  const Cost floors[] = {cost_of(forward), cost_of(input), cost_of(weight)};
  const char* names[] = {"grouped_forward", "grouped_backward_input", "grouped_backward_weight"};
  TestQueue queue;
  constexpr std::int64_t kMatrix = kSide * kSide * 2;
  // A tile's 128 rows and its columns pass by each other. The first group's weight is asked for by
  // both of its tiles of rows; by mma, in tiles of 128 columns, all rows are asked for twice. Where
  // terms are rows, each operand is by as many tiles as the other has. A box of 128 rows by the
  // tensor memory accelerator has 64 of the second group's.
  const std::int64_t mma[] = {2 * kMatrix, 2 * kMatrix, 2 * kMatrix};
  const std::int64_t wgmma[] = {kMatrix + kMatrix / 4, kMatrix + kMatrix / 4, kMatrix};
  for (std::size_t i = 0; i < 3; ++i) {
    check(fmt::format("{}, mma", names[i]).c_str(), floors[i], {.asked = mma[i]},
          [&] { emulated::grouped_mma(queue, problems[i]); });
    check(fmt::format("{}, wgmma", names[i]).c_str(), floors[i], {.asked = wgmma[i]},
          [&] { emulated::grouped_wgmma(queue, problems[i]); });
  }
}

}  // namespace espalier::testing
