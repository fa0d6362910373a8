#include "base/log.hpp"
#include "bench/attention.hpp"
#include "commands/banner.hpp"
#include "commands/commands.hpp"
#include "config/grid.hpp"
#include "kernels/attention/attention_provider.hpp"

// Attention at the shape that the input gives it on this rank, by every provider that can be had.

namespace espalier::commands {

using device::View;
using kernels::AttentionProvider;

ExitStatus bench_attention(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run) {
  print_banner(session, parameters, config::grid_shape(parameters));
  if (dry_run) return ExitStatus::ok;
  bench::BenchJob job(session, bench::with_one_block(parameters));
  train::log_devices(session, job.rank_context, parameters.device);
  const bench::Peaks& peaks = job.peaks;
  const model::Activations& a = *job.model.memory.activations;
  const model::BlockActivations& b = a.chunks.front().slots.front().blocks.front();
  for (const View& view : {b.qkv, b.qk, a.d_o}) bench::randomize(job.rank_context.context, view);
  bench::OperatorTimer timer(job.rank_context.context);
  if (job.rank_context.context.on_host())
    bench::time_attention(timer, job, AttentionProvider::automatic, "host");
  else
    for (const auto provider : {AttentionProvider::cudnn, AttentionProvider::wgmma,
                                AttentionProvider::mma, AttentionProvider::reference})
      bench::time_attention(timer, job, provider, std::string(kernels::name_of(provider)));
  const kernels::AttentionShape& s = a.attention;
  log::info("attention of rank 0: B {}, S {}, A {}, K {}, D {}, {}\n{}", s.batch, s.query_length,
            s.num_q_heads, s.num_kv_heads, s.head_dim, name_of(b.qkv.dtype),
            bench::roofline_table(timer.rows, peaks));
  // For scripts.
  for (const bench::Timed& row : timer.rows)
    log::info("bench: attention {}: {:.5f} ms, {:.4f} TFLOP/s", row.name, 1e3 * row.seconds,
              row.seconds > 0.0 ? 1e-12 * row.flops / row.seconds : 0.0);
  if (!job.rank_context.context.on_host()) {
    kernels::AttentionRequest backward = bench::attention_request(job, /*backward=*/true);
    const auto automatic = AttentionProvider::automatic;
    backward.scratch_elements = kernels::backward_scratch_elements(automatic, backward);
    log::info("bench: attention auto: {}, backward {}",
              kernels::name_of(kernels::choose(automatic, bench::attention_request(job, false))),
              kernels::name_of(kernels::choose(automatic, backward)));
    const std::string missing = kernels::what_is_missing(
        AttentionProvider::cudnn, bench::attention_request(job, /*backward=*/false));
    if (!missing.empty()) log::info("bench: attention cudnn needs {}", missing);
  }
  session.world().barrier();
  return ExitStatus::ok;
}

}  // namespace espalier::commands
