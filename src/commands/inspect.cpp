#include "commands/inspect.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "io/checkpoint.hpp"
#include "io/token_shard.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"
#include "train/restart.hpp"

namespace espalier::commands {

std::string shape_of(const io::CheckpointReader::TensorShape& tensor) {
  return tensor.is_vector ? fmt::format("{}", tensor.rows)
                          : fmt::format("{} x {}", tensor.rows, tensor.cols);
}

namespace {

namespace fs = std::filesystem;
using io::CheckpointReader;
using Field = CheckpointReader::Field;

/// Extremes and root mean square of the elements seen so far. Values that are not finite are
/// counted and left out.
struct Statistics {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double sum_of_squares = 0.0;
  std::int64_t num_finite = 0;
  std::int64_t num_not_finite = 0;

  void add(const std::vector<float>& values) {
    for (const float value : values) {
      if (!std::isfinite(value)) {
        ++num_not_finite;
        continue;
      }
      const double x = value;
      min = std::min(min, x);
      max = std::max(max, x);
      sum_of_squares += x * x;
      ++num_finite;
    }
  }
  double rms() const {
    return num_finite == 0 ? 0.0 : std::sqrt(sum_of_squares / static_cast<double>(num_finite));
  }
};

void print_indented(const std::string& text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    fmt::print("    {}\n", text.substr(begin, end - begin));
    begin = end + 1;
  }
}

/// Where the weights of the run came from at its start.
std::string initial_weights(const io::CheckpointInfo& info, const fs::path& folder) {
  try {
    const config::Parameters p = train::input_of(info, folder);
    if (!p.model.initial_weights.empty()) return p.model.initial_weights;
    return info.weights_only && info.step == 0 ? "as converted"
                                               : fmt::format("seed {}", p.training.seed);
  } catch (const Error&) {  // of another version
    return "unknown";
  }
}

void print_info(const io::CheckpointInfo& info, const fs::path& folder, std::uint64_t bytes) {
  fmt::print("checkpoint           {}\n", folder.string());
  fmt::print("step                 {} (Adam {})\n", info.step, info.adam_step);
  if (info.weights_only) fmt::print("contents             weights alone, without moments\n");
  fmt::print("samples consumed     {}\n", info.samples_consumed);
  fmt::print("tokens consumed      {}\n", info.tokens_consumed);
  fmt::print("written by           {}\n", info.grid);
  if (!info.job.empty()) fmt::print("job                  {}\n", info.job);
  if (info.saved_at != 0)
    fmt::print("saved                {:%Y-%m-%d %H:%M:%S}\n",
               fmt::localtime(static_cast<std::time_t>(info.saved_at)));
  fmt::print("build                {}\n", info.build);
  fmt::print("tokenizer            {}\n", info.tokenizer_identity);
  if (!info.data_identity.empty()) fmt::print("training data        {}\n", info.data_identity);
  fmt::print("initial weights      {}\n", initial_weights(info, folder));
  fmt::print("input                {:016x} (XXH3 of the resolved input below)\n",
             hash_text(info.resolved_input));
  fmt::print("size                 {}\n", human_bytes(static_cast<double>(bytes)));
  if (!info.allowed_changes.empty()) {
    fmt::print("changed function     as checkpoint.allow_changes said\n");
    print_indented(info.allowed_changes);
  }
  fmt::print("resolved input\n");
  print_indented(info.resolved_input);
}

/// One line per tensor. Reads everything once, shard by shard as it was written: memory is that of
/// the largest shard, and every checksum is looked at.
void print_tensors(CheckpointReader& reader) {
  const auto placed = reader.rectangles();
  std::vector<std::vector<parallel::Rectangle>> shards(reader.tensors().size());
  for (const auto& shard : placed) {
    shards[static_cast<std::size_t>(shard.tensor)].push_back(shard.rectangle);
  }
  const std::vector<Field> fields =
      reader.info().weights_only ? std::vector{Field::master}
                                 : std::vector{Field::master, Field::exp_avg, Field::exp_avg_sq};
  std::size_t width = 6;
  for (const auto& tensor : reader.tensors()) width = std::max(width, tensor.name.size());
  fmt::print("\n{:{}} {:>16} {:>6} {:>10} {:>10} {:>10} {:>12} {:>14}\n", "tensor", width, "shape",
             "shards", "min", "max", "rms", "exp_avg rms", "exp_avg_sq rms");

  const auto moment = [&](const Statistics& statistics) {
    return reader.info().weights_only ? std::string("-") : fmt::format("{:.3e}", statistics.rms());
  };
  std::int64_t num_elements = 0;
  std::int64_t num_not_finite = 0;
  std::vector<float> values;
  for (std::size_t i = 0; i < reader.tensors().size(); ++i) {
    const auto& tensor = reader.tensors()[i];
    Statistics of_field[3];
    for (const parallel::Rectangle& shard : shards[i]) {
      values.resize(static_cast<std::size_t>(shard.size()));
      for (const Field field : fields) {
        reader.read(tensor.name, tensor.rows, tensor.cols, shard, field, values.data());
        of_field[static_cast<std::size_t>(field)].add(values);
      }
    }
    for (const Statistics& statistics : of_field) num_not_finite += statistics.num_not_finite;
    num_elements += tensor.rows * tensor.cols;
    fmt::print("{:{}} {:>16} {:>6} {:>10.3e} {:>10.3e} {:>10.3e} {:>12} {:>14}\n", tensor.name,
               width, shape_of(tensor), shards[i].size(), of_field[0].min, of_field[0].max,
               of_field[0].rms(), moment(of_field[1]), moment(of_field[2]));
  }
  fmt::print("\n{} parameters in {} tensors, {} shards; all checksums fit\n",
             with_commas(num_elements), reader.tensors().size(), placed.size());
  if (num_not_finite > 0) {
    fmt::print("{} values are not finite\n", with_commas(num_not_finite));
  }
}

void print_ranks(const CheckpointReader& reader) {
  struct Share {
    std::int64_t shards = 0;
    std::int64_t elements = 0;
  };
  std::vector<Share> shares(static_cast<std::size_t>(reader.info().num_ranks));
  for (const auto& placed : reader.rectangles()) {
    Share& share = shares[static_cast<std::size_t>(placed.rank)];
    ++share.shards;
    share.elements += placed.rectangle.size();
  }
  fmt::print("\n{:>6} {:>8} {:>16}\n", "rank", "shards", "parameters");
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    fmt::print("{:>6} {:>8} {:>16}\n", rank, shares[rank].shards,
               with_commas(shares[rank].elements));
  }
}

void inspect_checkpoint(const fs::path& folder) {
  CheckpointReader reader(folder);
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  print_info(reader.info(), folder, bytes);
  print_ranks(reader);
  print_tensors(reader);
}

void inspect_shard(const fs::path& path) {
  const io::TokenShard shard = io::TokenShard::open(path, true);
  const io::ShardInfo& info = shard.info();
  fmt::print("token shard          {}\n", path.string());
  fmt::print("split                {}\n", info.split);
  fmt::print("source               {}\n", info.source);
  fmt::print("tokenizer            {} ({})\n", info.tokenizer_file, info.tokenizer_identity);
  fmt::print("vocabulary           {} (end of text {})\n", info.vocabulary, info.end_of_text);
  fmt::print("tokens               {}\n", info.num_tokens);
  fmt::print("documents            {}\n", info.num_documents);
  fmt::print("bytes of text        {} ({:.3f} per token)\n", info.num_bytes,
             info.num_tokens == 0
                 ? 0.0
                 : static_cast<double>(info.num_bytes) / static_cast<double>(info.num_tokens));
  fmt::print("checksum             {} fits\n", info.checksum);
  const auto tokens = shard.tokens();
  fmt::print("first tokens        ");
  for (std::size_t i = 0; i < std::min<std::size_t>(tokens.size(), 16); ++i) {
    fmt::print(" {}", tokens[i]);
  }
  fmt::print("\n");
}

void inspect_tokenizer(const fs::path& path) {
  const auto tokenizer = tokenizer::Tokenizer::from_file(path);
  fmt::print("tokenizer            {}\n", path.string());
  fmt::print("identity             {}\n", tokenizer.identity());
  fmt::print("ids                  {}\n", tokenizer.size());
  config::DataParameters data;
  data.tokenizer = path.string();
  const auto marks = train::document_marks(data, tokenizer);
  const auto show = [&](const char* what, std::span<const std::uint32_t> ids) {
    fmt::print(
        "{:<20} {}\n", what,
        ids.empty() ? "none" : fmt::format("{} ({})", tokenizer.decode(ids), fmt::join(ids, ", ")));
  };
  show("begin of document", marks.begin);
  show("document separator",
       marks.separator ? std::vector{*marks.separator} : std::vector<std::uint32_t>());
}

}  // namespace

void inspect(const std::string& path) {
  std::error_code ignored;
  require(fs::exists(path, ignored), ExitStatus::bad_data, "{} does not exist", path);
  const std::string extension = fs::path(path).extension().string();
  if (!fs::is_directory(path, ignored)) {
    if (extension == ".json" || extension == ".tiktoken" || extension == ".model")
      return inspect_tokenizer(path);
    return inspect_shard(path);
  }
  inspect_checkpoint(require_checkpoint(path));
}

fs::path require_checkpoint(const std::string& path) {
  const auto checkpoint = io::checkpoint_at(path);
  require(checkpoint.has_value(), ExitStatus::bad_data,
          "{} holds no complete checkpoint; give a checkpoint folder, a token shard or a "
          "tokenizer file",
          path);
  return *checkpoint;
}

namespace {

/// Of a path that the options are for: a checkpoint, or what holds one.
fs::path checkpoint_for(const std::string& path) {
  std::error_code ignored;
  require(fs::exists(path, ignored), ExitStatus::bad_data, "{} does not exist", path);
  const auto checkpoint = io::checkpoint_at(path);
  require(checkpoint.has_value(), ExitStatus::bad_data,
          "{} holds no complete checkpoint; --hashes and --difference are for checkpoints", path);
  return *checkpoint;
}

}  // namespace

ExitStatus inspect(parallel::MpiSession& session, std::span<const std::string> paths,
                   std::span<const std::string> overrides, bool /*dry_run*/) {
  for (const std::string& text : overrides)
    if (!text.starts_with("inspect."))
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("override {}: inspect heeds [inspect] alone", text),
                  Met::by_every_rank);
  config::Parameters p;
  io::read_parameters("", "command line", overrides, p);
  if (p.inspect.difference && (paths.size() != 2 || p.inspect.hashes))
    throw Error(
        ExitStatus::usage,
        fmt::format(
            "--difference compares two checkpoints{}: espalier inspect --difference "
            "A B",
            p.inspect.hashes ? ", without --hashes" : fmt::format(", {} are named", paths.size())),
        Met::by_every_rank);
  // One rank reads; the others have nothing to do but to end alike.
  const std::string differ = parallel::on_rank_0(session, [&] {
    if (p.inspect.difference)
      return std::string(
          print_difference(checkpoint_for(paths[0]), checkpoint_for(paths[1])) ? "differ" : "");
    for (const std::string& path : paths) {
      if (p.inspect.hashes && paths.size() > 1) fmt::print("{}:\n", path);
      if (p.inspect.hashes)
        print_hashes(checkpoint_for(path));
      else
        inspect(path);
    }
    return std::string();
  });
  return differ.empty() ? ExitStatus::ok : ExitStatus::bad_numbers;
}

}  // namespace espalier::commands
