#include <algorithm>
#include <optional>

#include "base/log.hpp"
#include "commands/banner.hpp"
#include "commands/commands.hpp"
#include "commands/operator_timer.hpp"
#include "kernels/attention/attention_provider.hpp"

// Attention at the shape that the input gives it on this rank, by every provider that can be had.

namespace espalier::commands {

using device::View;
using kernels::AttentionProvider;

kernels::AttentionRequest attention_request(BenchJob& job, bool backward) {
  const model::Activations& a = *job.model.memory.activations;
  return {.shape = a.attention,
          .dtype = a.blocks.front().qkv.dtype,
          .compute_capability = a.shape.compute_capability,
          .backward = backward};
}

void time_attention(OperatorTimer& timer, BenchJob& job, AttentionProvider provider,
                    const std::string& name) {
  const plan::TrainingMemory& memory = job.model.memory;
  const model::Activations& a = *memory.activations;
  const model::Inputs whole_sequences{};  // of the inputs attention reads only the document starts
  const model::AttentionOperands operands{memory.architecture, memory.weights->sizes(), a,
                                          a.blocks.front(), whole_sequences};
  const bool on_gpu = !job.rank_context.context.on_host();
  if (on_gpu && !kernels::supports(provider, attention_request(job, /*backward=*/false))) return;
  kernels::AttentionRequest request = attention_request(job, /*backward=*/true);
  request.scratch_elements = kernels::backward_scratch_elements(provider, request);
  const bool deterministic = !on_gpu || kernels::supports(provider, request);
  View scratch = a.attention_scratch;
  std::optional<device::Arena> scratch_arena;
  if (on_gpu && scratch.size() < request.scratch_elements) {
    scratch_arena = device::Arena::backed("scratch", 4 * request.scratch_elements + 64,
                                          job.rank_context.context.shared_gpu());
    scratch = scratch_arena->allocate("scratch", DType::f32, 1, request.scratch_elements);
  }
  kernels::AttentionForward forward = operands.attention();
  forward.provider = provider;
  timer.measure(name, [&] { kernels::attention_forward(job.rank_context.context, forward); });
  kernels::AttentionBackward backward = operands.attention_backward();
  backward.provider = provider;
  backward.scratch = scratch;
  backward.deterministic = deterministic;
  timer.measure(name + (deterministic ? " backward" : " backward, any order"),
                [&] { kernels::attention_backward(job.rank_context.context, backward); });
}

ExitStatus bench_attention(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run) {
  print_banner(session, parameters, train::grid_shape(parameters));
  if (dry_run) return ExitStatus::ok;
  BenchJob job(session, with_one_block(parameters));
  const Peaks& peaks = job.peaks;
  const model::Activations& a = *job.model.memory.activations;
  const model::BlockActivations& b = a.blocks.front();
  for (const View& view : {b.qkv, b.qk, a.d_o}) randomize(job.rank_context.context, view);
  OperatorTimer timer(job.rank_context.context);
  if (job.rank_context.context.on_host())
    time_attention(timer, job, AttentionProvider::automatic, "host");
  else
    for (const auto provider : {AttentionProvider::cudnn, AttentionProvider::wgmma,
                                AttentionProvider::mma, AttentionProvider::reference})
      time_attention(timer, job, provider, std::string(kernels::name_of(provider)));
  const kernels::AttentionShape& s = a.attention;
  log::info("attention of rank 0: B {}, S {}, A {}, K {}, D {}, {}\n{}", s.batch, s.query_length,
            s.num_q_heads, s.num_kv_heads, s.head_dim, name_of(b.qkv.dtype),
            roofline_table(timer.rows, peaks));
  // For scripts.
  for (const Timed& row : timer.rows)
    log::info("bench: attention {}: {:.5f} ms, {:.4f} TFLOP/s", row.name, 1e3 * row.seconds,
              row.seconds > 0.0 ? 1e-12 * row.flops / row.seconds : 0.0);
  if (!job.rank_context.context.on_host()) {
    kernels::AttentionRequest backward = attention_request(job, /*backward=*/true);
    const auto automatic = AttentionProvider::automatic;
    backward.scratch_elements = kernels::backward_scratch_elements(automatic, backward);
    log::info("bench: attention auto: {}, backward {}",
              kernels::name_of(kernels::choose(automatic, attention_request(job, false))),
              kernels::name_of(kernels::choose(automatic, backward)));
    const std::string missing = kernels::what_is_missing(
        AttentionProvider::cudnn, attention_request(job, /*backward=*/false));
    if (!missing.empty()) log::info("bench: attention cudnn needs {}", missing);
  }
  session.world().barrier();
  return ExitStatus::ok;
}

}  // namespace espalier::commands
