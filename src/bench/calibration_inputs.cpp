#include "bench/calibration_inputs.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace espalier::bench {
namespace {

/// A model of two blocks and its micro-batch, in the letters of base/dims.hpp.
struct Shape {
  const char* family;
  std::int64_t H, F, A, K, D, V, S, B;
  std::int64_t num_micro_batches;
};

// FLOPs of a step are at most some 1e11, so that all of them take seconds. The first three have all
// operators.
constexpr std::array kShapes = {
    Shape{"qwen3", 96, 256, 3, 3, 32, 1024, 64, 4, 2},
    Shape{"gpt2", 256, 1024, 4, 4, 64, 4096, 256, 2, 2},
    Shape{"llama", 384, 1024, 6, 6, 64, 4096, 512, 1, 2},
    Shape{"qwen3", 128, 384, 2, 1, 64, 2048, 128, 8, 2},
    Shape{"qwen3", 256, 768, 4, 2, 64, 8192, 256, 4, 1},
    Shape{"qwen3", 512, 1536, 8, 4, 64, 16384, 512, 2, 1},
    Shape{"llama", 768, 2048, 6, 2, 128, 8192, 384, 2, 1},
    Shape{"qwen3", 1024, 3072, 8, 4, 128, 32768, 256, 1, 1},
    Shape{"qwen3", 192, 512, 3, 3, 64, 49152, 256, 2, 1},
    Shape{"qwen3", 256, 1024, 2, 1, 128, 2048, 2048, 1, 1},
    Shape{"llama", 512, 1408, 8, 8, 64, 2048, 1024, 1, 2},
    Shape{"gpt2", 768, 3072, 12, 12, 64, 16384, 128, 4, 1},
    Shape{"qwen3", 1024, 2816, 16, 8, 64, 4096, 512, 1, 1},
    Shape{"llama", 640, 1728, 10, 5, 64, 65536, 128, 2, 1},
};

config::Parameters input_of(const Shape& s, const std::string& dtype, int tensor, int data) {
  config::Parameters p;
  p.model.model_type = s.family;
  p.model.hidden_size = s.H;
  p.model.intermediate_size = s.F;
  p.model.num_hidden_layers = 2;
  p.model.num_attention_heads = s.A;
  p.model.num_key_value_heads = s.K;
  p.model.head_dim = s.D;
  p.model.vocab_size = s.V;
  p.model.tie_word_embeddings = true;
  p.model.max_position_embeddings = s.S;
  p.parallel.tensor = tensor;
  p.parallel.data = data;
  p.training.sequence_length = s.S;
  p.training.micro_batch_size = s.B;
  p.training.global_batch_size = s.B * s.num_micro_batches * data;
  p.training.dtype = dtype;
  return p;
}

/// Whether the shape can be divided over that many tensor ranks.
bool divides(const Shape& s, int tensor) {
  return s.A % tensor == 0 && s.K % tensor == 0 && s.F % tensor == 0 && (s.S * s.B) % tensor == 0;
}

}  // namespace

std::vector<config::Parameters> calibration_inputs(const std::string& dtype, int num_ranks,
                                                   const config::Parameters& asked) {
  std::vector<config::Parameters> inputs;
  const auto add = [&](const Shape& shape, int tensor, int data) {
    config::Parameters p = input_of(shape, dtype, tensor, data);
    p.device = asked.device;
    p.device.backend = "host";
    config::resolve(p, num_ranks, config::Use::bench);
    inputs.push_back(std::move(p));
  };
  std::span<const Shape> shapes = kShapes;
  const auto wanted = static_cast<std::size_t>(asked.bench.write_models);
  if (wanted > 0 && wanted < shapes.size()) shapes = shapes.first(wanted);
  for (const Shape& shape : shapes) add(shape, 1, num_ranks);
  for (const Shape& shape : shapes)
    if (num_ranks > 1 && divides(shape, num_ranks)) add(shape, num_ranks, 1);
  return inputs;
}

}  // namespace espalier::bench
