#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "huggingface/config_json.hpp"
#include "huggingface/safetensors.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::huggingface {

/// Writes a model folder as save_pretrained does. Where every byte goes follows from the table
/// alone, so that any rank may write any unit: one rank calls create, then the ranks write the
/// units among them, each flushes what it wrote.
class FolderWriter {
 public:
  /// A tensor of a file.
  struct Tensor {
    StoredTensor stored;
    std::size_t file = 0;
    std::int64_t first_row = 0;  ///< of experts: of the row of the table, that it holds
  };
  /// What is written at once: a row of the table and its tensor, several rows that share a tensor
  /// (q, k and v of GPT-2), or one row with a tensor for each matrix of each expert.
  struct Unit {
    std::vector<const parallel::TensorSpec*> rows;
    std::vector<Tensor> tensors;
    std::uint64_t bytes() const;  ///< in the files
  };

  /// Touches no file. `table` must outlive the writer. A file is closed when the next tensor would
  /// take it above `shard_bytes`.
  FolderWriter(std::filesystem::path folder, ExportedConfig config,
               std::span<const parallel::TensorSpec> table, std::uint64_t shard_bytes);

  const std::vector<Unit>& units() const { return units_; }
  std::size_t num_tensors() const;
  std::uint64_t total_bytes() const;          ///< of weights
  std::vector<std::string> describe() const;  ///< a line per file: name, size

  /// One rank, the folder being there: config.json, generation_config.json, the index and the
  /// files with their headers. Throws Error (io_error).
  void create() const;
  /// `read` fills (spec.rows, spec.cols) of a row of the table. Memory: about the unit in f32.
  /// Throws as write_elements.
  void write(const Unit& unit,
             const std::function<void(const parallel::TensorSpec&, float*)>& read);
  void flush();  ///< what this rank wrote reaches the disk

 private:
  struct File {
    std::string name, header;
    std::uint64_t bytes = 0;
  };
  io::FileDescriptor& open(std::size_t file);
  std::filesystem::path folder_;
  ExportedConfig config_;
  std::vector<Unit> units_;
  std::vector<File> files_;
  std::vector<io::FileDescriptor> open_files_;
  std::vector<float> values_, row_values_;
};

/// A new small text file that reaches the disk. Throws Error (io_error).
void write_text_file(const std::filesystem::path& file, std::string_view text);

}  // namespace espalier::huggingface
