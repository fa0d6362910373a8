// What every operator asks of memory at the widths of a small model, in bf16: sectors beside bytes
// asked for, bytes moved beside the floor of cost.hpp, wavefronts of shared memory beside the
// fewest. validation/kernel_access records the table.
#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "cases.hpp"
#include "kernels/cost.hpp"
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/emulation/access_counter.hpp"
#include "kernels/emulation/faults.hpp"

namespace espalier::testing {
namespace {

using kernels::AttentionShape;
using kernels::Cost;
using kernels::emulation::access_counts;
using kernels::emulation::AccessCounts;
using kernels::emulation::settings;
namespace emulated = kernels::emulated;

/// Matrices begin at multiples of 256 bytes, as the arena's do.
class AlignedMatrices {
 public:
  AlignedMatrices() {
    matrix_memory().allocate = [](std::size_t bytes) {
      return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    };
  }
  ~AlignedMatrices() { matrix_memory().allocate = std::malloc; }
};

/// The most that a row of the table may show.
struct Bounds {
  double sector_factor;
  double bytes_to_floor;
  double conflict_factor = 1.0;
};

void print_header() {
  fmt::print("| {:<29} | {:>9} | {:>7} | {:>8} | {:>9} | {:>9} |\n", "operator", "asked KiB",
             "sectors", "to floor", "shared KW", "conflicts");
}

/// Counts what run() does, prints the row and checks it.
void check(const char* name, const Cost& floor, const Bounds& most,
           const std::function<void()>& run) {
  access_counts() = {};
  settings().count_accesses = true;
  run();
  settings().count_accesses = false;
  const AccessCounts& counts = access_counts();
  const auto device = counts.device();
  const auto shared = counts.shared();
  const double to_floor = static_cast<double>(device.sectors) * 32.0 / floor.bytes;
  fmt::print("| {:<29} | {:>9.1f} | {:>7.2f} | {:>8.2f} | {:>9.1f} | {:>9.2f} |\n", name,
             static_cast<double>(device.bytes) / 1024.0, device.sector_factor(), to_floor,
             static_cast<double>(shared.wavefronts) / 1024.0, shared.conflict_factor());
  CAPTURE(name);
  constexpr double kRounded = 0.005;
  CHECK(device.sector_factor() <= most.sector_factor + kRounded);
  CHECK(to_floor <= most.bytes_to_floor + kRounded);
  CHECK(to_floor >= 0.99);  // less than the floor: something was not counted
  CHECK(shared.conflict_factor() <= most.conflict_factor + kRounded);
}

/// The same with the operator's own cost.
template <class Operator, class Arguments>
void check(const char* name, const Bounds& most, const Operator& run, const Arguments& a) {
  TestQueue queue;
  check(name, kernels::cost_of(a), most, [&] { run(queue, a); });
}

constexpr std::int64_t kTokens = 64;
constexpr std::int64_t kHidden = 1024, kIntermediate = 3072, kHeadDim = 128, kVocabulary = 4096;

Matrix<bf16> numbers(const char* stream, std::int64_t rows, std::int64_t cols) {
  Matrix<bf16> matrix(rows, cols);
  matrix.randomize(stream);
  return matrix;
}

}  // namespace

TEST_CASE("memory traffic: element by element", "[access][table]") {
  const AlignedMatrices aligned;
  TestQueue queue;
  print_header();
  Matrix<bf16> gate_up = numbers("gate_up", kTokens, 2 * kIntermediate),
               d_gate_up(kTokens, 2 * kIntermediate), out(kTokens, kIntermediate),
               d_out = numbers("d_out", kTokens, kIntermediate), d_x(kTokens, kIntermediate);
  // Every byte once, in whole sectors.
  constexpr Bounds kFloor{1.0, 1.0};
  check("swiglu_forward", kFloor, emulated::swiglu_forward,
        kernels::SwigluForward{gate_up.view(), out.view()});
  check("swiglu_backward", kFloor, emulated::swiglu_backward,
        kernels::SwigluBackward{gate_up.view(), d_out.view(), d_gate_up.view(), out.view()});
  check("gelu_forward", kFloor, emulated::gelu_forward,
        kernels::GeluForward{d_out.view(), out.view()});
  check("gelu_backward", kFloor, emulated::gelu_backward,
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
  check("adamw", kernels::cost_of_adamw(steps), kFloor, [&] { emulated::adamw(queue, steps); });
  check("cast to bf16", kernels::cost_of_cast(weight.view(), master.view()), kFloor,
        [&] { emulated::cast(queue, weight.view(), master.view()); });
  check("cast to f32", kernels::cost_of_cast(master.view(), weight.view()), kFloor,
        [&] { emulated::cast(queue, master.view(), weight.view()); });
  check("set_zero", kernels::cost_of_set_zero(m.view()), kFloor,
        [&] { emulated::set_zero(queue, m.view()); });
  double squares = 0.0;
  check("sum_of_squares", kernels::cost_of_sum_of_squares(gradient.view()), kFloor,
        [&] { emulated::sum_of_squares(queue, device::view_of(&squares, 1, 1), gradient.view()); });
}

TEST_CASE("memory traffic: norms", "[access][table]") {
  const AlignedMatrices aligned;
  Matrix<bf16> x = numbers("x", kTokens, kHidden), delta = numbers("delta", kTokens, kHidden),
               weight = numbers("weight", 1, kHidden), bias = numbers("bias", 1, kHidden),
               residual(kTokens, kHidden), y(kTokens, kHidden),
               dy = numbers("dy", kTokens, kHidden), dx(kTokens, kHidden);
  Matrix<float> inverse_rms(1, kTokens), statistics(2, kTokens), d_weight(1, kHidden),
      d_bias(1, kHidden);
  check("rmsnorm_forward", {1.0, 1.25}, emulated::rmsnorm_forward,
        kernels::RmsNormForward{x.view(), delta.view(), weight.view(), residual.view(), y.view(),
                                inverse_rms.view(), 1e-6f});
  check("rmsnorm_backward", {1.0, 1.25}, emulated::rmsnorm_backward,
        kernels::RmsNormBackward{dy.view(), x.view(), weight.view(), inverse_rms.view(),
                                 delta.view(), dx.view(), d_weight.view()});
  check("layernorm_forward", {1.0, 1.25}, emulated::layernorm_forward,
        kernels::LayerNormForward{x.view(), delta.view(), weight.view(), bias.view(),
                                  residual.view(), y.view(), statistics.view(), 1e-6f});
  check("layernorm_backward", {1.0, 1.25}, emulated::layernorm_backward,
        kernels::LayerNormBackward{dy.view(), x.view(), weight.view(), statistics.view(),
                                   delta.view(), dx.view(), d_weight.view(), d_bias.view()});
  check("bias_backward", {1.0, 1.25}, emulated::bias_backward,
        kernels::BiasBackward{dy.view(), d_bias.view()});
}

TEST_CASE("memory traffic: QK-norm and RoPE", "[access][table]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kQ = 4, kKv = 2;
  Matrix<bf16> qkv = numbers("qkv", kTokens, (kQ + 2 * kKv) * kHeadDim),
               qk(kTokens, (kQ + kKv) * kHeadDim), d_qkv(kTokens, (kQ + 2 * kKv) * kHeadDim),
               q_weight = numbers("q_weight", 1, kHeadDim),
               k_weight = numbers("k_weight", 1, kHeadDim);
  Matrix<float> cos(kTokens, kHeadDim / 2), sin(kTokens, kHeadDim / 2), d_q(1, kHeadDim),
      d_k(1, kHeadDim);
  std::vector<std::int32_t> order(kTokens);
  std::iota(order.begin(), order.end(), 0);
  Ids<std::int32_t> positions(order);
  check("qk_norm_rope_forward", {1.0, 1.25}, emulated::qk_norm_rope_forward,
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
  check("qk_norm_rope_backward", {1.0, 1.25}, emulated::qk_norm_rope_backward,
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
  check("embedding_forward", {1.0, 1.05}, emulated::embedding_forward,
        kernels::EmbeddingForward{tokens.view(), table.view(), 0, x.view()});
  check("embedding_backward", {1.0, 1.05}, emulated::embedding_backward,
        kernels::EmbeddingBackward{tokens.view(), x.view(), 0, d_table.view(), {}});
  check("positions_forward", {1.0, 1.05}, emulated::positions_forward,
        kernels::PositionsForward{positions.view(), table.view(), x.view()});
  check("positions_backward", {1.0, 1.05}, emulated::positions_backward,
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
      first_keys(std::vector<std::int32_t>(kSamples * kLength));
  check("batch_inputs", {1.25, 2.0}, emulated::batch_inputs,
        kernels::BatchInputs{.samples = samples.view(),
                             .document_positions = document_positions.view(),
                             .num_counted = kSamples,
                             .predict_across = false,
                             .tokens = inputs.view(),
                             .targets = targets.view(),
                             .positions = input_positions.view(),
                             .first_keys = first_keys.view()});
}

TEST_CASE("memory traffic: cross-entropy", "[access][table]") {
  const AlignedMatrices aligned;
  TestQueue queue;
  Matrix<bf16> logits = numbers("logits", kTokens, kVocabulary);
  Matrix<float> statistics(kTokens, 3), loss(1, kTokens), lse(1, kTokens);
  std::vector<std::uint32_t> ids(kTokens);
  for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = static_cast<std::uint32_t>(t * 61);
  Ids<std::uint32_t> targets(ids);
  check("cross_entropy_statistics", {1.01, 1.02}, emulated::cross_entropy_statistics,
        kernels::CrossEntropyStatistics{logits.view(), targets.view(), 0, kVocabulary,
                                        statistics.view()});
  check(
      "cross_entropy_combine", {3.0, 3.0}, emulated::cross_entropy_combine,
      kernels::CrossEntropyCombine{statistics.view(), targets.view(), 1, loss.view(), lse.view()});
  check("cross_entropy_backward", {1.01, 1.02}, emulated::cross_entropy_backward,
        kernels::CrossEntropyBackward{logits.view(), targets.view(), lse.view(), 0, kVocabulary,
                                      0.5f});
  double sum = 0.0;
  check("add_losses", kernels::cost_of_add_losses(loss.view()), {1.1, 1.3},
        [&] { emulated::add_losses(queue, device::view_of(&sum, 1, 1), loss.view()); });
}

TEST_CASE("memory traffic: attention", "[access][table]") {
  const AlignedMatrices aligned;
  constexpr std::int64_t kQ = 2, kKv = 1, kLength = 256;
  const AttentionShape shape{.batch = 1,
                             .query_length = kLength,
                             .kv_length = kLength,
                             .num_q_heads = kQ,
                             .num_kv_heads = kKv,
                             .head_dim = kHeadDim};
  Matrix<bf16> q = numbers("q", kLength, kQ * kHeadDim), k = numbers("k", kLength, kHeadDim),
               v = numbers("v", kLength, kHeadDim), o(kLength, kQ * kHeadDim),
               d_o = numbers("d_o", kLength, kQ * kHeadDim), d_q(kLength, kQ * kHeadDim),
               d_k(kLength, kHeadDim), d_v(kLength, kHeadDim);
  Matrix<float> lse(kQ, kLength), scratch(1, kernels::attention_backward_scratch_elements(shape));
  const kernels::AttentionForward forward{.shape = shape,
                                          .q = q.view(),
                                          .k = k.view(),
                                          .v = v.view(),
                                          .o = o.view(),
                                          .lse = lse.view()};
  const kernels::AttentionBackward backward{.shape = shape,
                                            .q = q.view(),
                                            .k = k.view(),
                                            .v = v.view(),
                                            .o = o.view(),
                                            .lse = lse.view(),
                                            .d_o = d_o.view(),
                                            .d_q = d_q.view(),
                                            .d_k = d_k.view(),
                                            .d_v = d_v.view(),
                                            .scratch = scratch.view()};
  check("attention_forward_mma", {1.0, 3.0}, emulated::attention_forward_mma, forward);
  check("attention_backward_mma", {1.0, 5.0}, emulated::attention_backward_mma, backward);
  check("attention_forward_wgmma", {1.0, 3.0}, emulated::attention_forward_wgmma, forward);
  check("attention_backward_wgmma", {1.0, 5.0}, emulated::attention_backward_wgmma, backward);
  check("attention_forward_reference", {1.0, 5.0}, emulated::attention_forward_reference, forward);
  check("attention_backward_reference", {1.0, 9.0}, emulated::attention_backward_reference,
        backward);
}

}  // namespace espalier::testing
