#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::huggingface {

/// A model folder as transformers' save_pretrained leaves it: config.json and model.safetensors, or
/// model.safetensors.index.json with its files.
class ModelFolder {
 public:
  /// Reads config.json and the headers of the safetensors files; no weight. Throws Error
  /// (bad_data) naming the file and the key: another architecture, an option that is not supported
  /// (sliding window, biases, another activation, ...), a damaged header.
  explicit ModelFolder(const std::filesystem::path& folder);
  ~ModelFolder();
  ModelFolder(ModelFolder&&) noexcept;

  /// config.json in our keys; those that it does not name have the family's defaults of
  /// transformers. tie_word_embeddings is what the weights say: see is_untied_by_weights.
  const config::ModelParameters& model() const;
  /// config.json ties LM head and embedding, but the files hold two weights that differ: the model
  /// is taken untied, as transformers 5 does.
  bool is_untied_by_weights() const;
  /// "float32", "bfloat16" or "float16": the widest dtype of the stored weights.
  const std::string& dtype() const;

  /// Throws one Error (bad_data) that lists every tensor of `table` that is missing or has another
  /// shape, and every tensor of the files that no row of `table` takes (buffers that transformers
  /// ignores as well are no fault: attn.bias and attn.masked_bias of GPT-2, rotary_emb.inv_freq,
  /// a tied lm_head.weight equal to the embedding). The one weight of a tied model may be stored
  /// under either name, and an index may name tensors that no row takes.
  void require_tensors(std::span<const parallel::TensorSpec> table) const;

  /// The rectangle of a weight as f32, through spec.place: out (rectangle.rows(),
  /// rectangle.cols()), row-major. The values of f32, bf16 and f16 files are exact.
  void read(const parallel::TensorSpec& spec, const parallel::Rectangle& rectangle,
            float* out) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What is to be said of a folder that is untied by its weights.
std::string describe_untied(const std::filesystem::path& folder);

/// Whether the path is a folder with a config.json (and so no checkpoint of ours).
bool is_model_folder(const std::filesystem::path& path);

}  // namespace espalier::huggingface
