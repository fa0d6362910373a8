#include "train/gradient_dump.hpp"

#include "base/log.hpp"
#include "io/tensor_file.hpp"

namespace espalier::train {

void dump_gradients(device::Context& context, const std::filesystem::path& path,
                    optim::Optimizer& optimizer, parallel::Communicator& world) {
  std::vector<parallel::TensorSpec> table;
  for (const parallel::LocalTensor& tensor : optimizer.tensors()) table.push_back(*tensor.spec);
  if (world.rank() == 0) io::create_tensor_file(path, table);

  std::vector<std::vector<float>> values;  // the parts of this rank in host memory
  std::vector<io::TensorPart> parts;
  for (const optim::StateShard& state : optimizer.state()) {
    if (!state.shard.writes) continue;
    const auto& tensor = optimizer.tensors()[static_cast<std::size_t>(state.shard.tensor)];
    // The rows that this rank writes lie inside those that it owns.
    const std::int64_t row =
        state.shard.row_begin + state.shard.written.row_begin - state.shard.rectangle.row_begin;
    if (state.shard.written.empty()) continue;
    values.push_back(
        context.download<float>(tensor.gradient.row_range(row, state.shard.written.rows())));
    parts.push_back({tensor.spec, state.shard.written, values.back().data(), tensor.gradient.cols});
  }
  for (int rank = 0; rank < world.size(); ++rank) {
    world.barrier();
    if (rank == world.rank()) io::write_tensor_parts(path, parts);
  }
  world.barrier();
  log::info("gradients written to {}", path.string());
}

}  // namespace espalier::train
