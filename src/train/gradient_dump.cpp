#include "train/gradient_dump.hpp"

#include "base/log.hpp"
#include "io/tensor_file.hpp"

namespace espalier::train {

void dump_gradients(device::Context& context, const std::filesystem::path& path,
                    const parallel::ParameterStore& parameters, parallel::Communicator& world) {
  std::vector<parallel::TensorSpec> table;
  for (const parallel::LocalTensor& tensor : parameters.tensors()) table.push_back(*tensor.spec);
  if (world.rank() == 0) io::create_tensor_file(path, table);

  std::vector<std::vector<float>> values;  // the parts of this rank in host memory
  std::vector<io::TensorPart> parts;
  for (const parallel::OwnedShard& shard : parameters.shards()) {
    if (!shard.writes || shard.written.empty()) continue;
    const parallel::LocalTensor& tensor = parameters.tensor_of(shard);
    // The rows that this rank writes lie inside those that it owns.
    const std::int64_t row = shard.row_begin + shard.written.row_begin - shard.rectangle.row_begin;
    values.push_back(context.download<float>(tensor.gradient.row_range(row, shard.written.rows())));
    parts.push_back({tensor.spec, shard.written, values.back().data(), tensor.gradient.cols});
  }
  for (int rank = 0; rank < world.size(); ++rank) {
    world.barrier();
    if (rank == world.rank()) io::write_tensor_parts(path, parts);
  }
  world.barrier();
  log::info("gradients written to {}", path.string());
}

}  // namespace espalier::train
