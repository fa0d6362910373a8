#include "train/gradient_dump.hpp"

#include "base/log.hpp"
#include "io/tensor_file.hpp"

namespace espalier::train {

void dump_gradients(const std::filesystem::path& path, optim::Optimizer& optimizer,
                    parallel::Communicator& world) {
  std::vector<parallel::TensorSpec> table;
  for (const parallel::LocalTensor& tensor : optimizer.tensors()) table.push_back(*tensor.spec);
  if (world.rank() == 0) io::create_tensor_file(path, table);

  std::vector<io::TensorPart> parts;
  for (const optim::StatePiece& state : optimizer.state()) {
    if (!state.piece.writes) continue;
    const auto& tensor = optimizer.tensors()[static_cast<std::size_t>(state.piece.tensor)];
    // The rows that this rank writes lie inside those that it owns.
    const std::int64_t row =
        state.piece.row_begin + state.piece.written.row_begin - state.piece.rectangle.row_begin;
    if (state.piece.written.empty()) continue;
    parts.push_back(
        {tensor.spec, state.piece.written, tensor.gradient.as<float>(row), tensor.gradient.stride});
  }
  for (int rank = 0; rank < world.size(); ++rank) {
    world.barrier();
    if (rank == world.rank()) io::write_tensor_parts(path, parts);
  }
  world.barrier();
  log::info("gradients written to {}", path.string());
}

}  // namespace espalier::train
