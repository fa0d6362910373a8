// A checkpoint of any grid and layout to a checkpoint of one file.
#include <algorithm>
#include <vector>

#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/convert_checkpoint.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_copy.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;
using Field = io::CheckpointReader::Field;

io::CheckpointInfo info_of_copy(const io::CheckpointReader& reader, const fs::path& source,
                                bool with_moments) {
  io::CheckpointInfo info = reader.info();
  info.is_shared = true;
  info.num_ranks = 1;
  info.weights_only = info.weights_only || !with_moments;
  info.job += fmt::format("{}copied from {}", info.job.empty() ? "" : "; ", source.string());
  return info;
}

}  // namespace

void copy_checkpoint(parallel::MpiSession& session, const fs::path& source, ConvertTarget& target,
                     bool with_moments, bool dry_run) {
  io::CheckpointReader reader(source);
  const io::CheckpointInfo info = info_of_copy(reader, source, with_moments);
  const int num_fields = io::num_fields(info);
  double bytes = 0.0;
  for (const auto& tensor : reader.tensors())
    bytes += static_cast<double>(tensor.rows * tensor.cols * num_fields) * sizeof(float);
  log::info("source      {}: step {}, {}", source.string(), info.step, info.grid);
  log::info("target      {}: checkpoint in one file, {}, {}", target.name(),
            info.weights_only ? "weights alone" : "weights and moments", human_bytes(bytes));
  if (with_moments && info.weights_only)
    log::info("            the source has no moments, and no run can be continued from it");
  if (dry_run) return;

  io::OneFileWriter writer(target.partial(), info, reader.tensors());
  target.create(session, [&] { writer.create(); });
  // Each shard is read whole, as it was written, so that every checksum is looked at.
  std::vector<std::vector<parallel::Rectangle>> shards(reader.tensors().size());
  for (const auto& placed : reader.rectangles())
    shards[static_cast<std::size_t>(placed.tensor)].push_back(placed.rectangle);
  const auto num_ranks = static_cast<std::size_t>(session.size());
  std::vector<float> values;
  for (auto i = static_cast<std::size_t>(session.rank()); i < shards.size(); i += num_ranks) {
    const auto& tensor = reader.tensors()[i];
    for (const parallel::Rectangle& shard : shards[i]) {
      values.resize(static_cast<std::size_t>(shard.size()));
      for (int field = 0; field < num_fields; ++field) {
        reader.read(tensor.name, tensor.rows, tensor.cols, shard, static_cast<Field>(field),
                    values.data());
        writer.write(i, static_cast<Field>(field), shard, values.data());
      }
    }
    writer.finish_tensor(i);
    log::live(fmt::format("{} of {} tensors", i + 1, shards.size()));
  }
  writer.flush();
  session.world().barrier();
  on_rank_0(session, [&] {
    writer.complete(io::kept_files(source));
    target.publish();
    return std::string();
  });
  log::info("{} is complete: {} tensors, {}", target.name(), shards.size(), human_bytes(bytes));
}

}  // namespace espalier::commands
