#include "train/checkpointing.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "config/grid.hpp"
#include "io/lustre.hpp"
#include "kernels/elementwise.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/memory_plan.hpp"
#include "train/device_choice.hpp"
#include "train/host_values.hpp"
#include "train/kept_tokenizer.hpp"

namespace espalier::train {

std::filesystem::path checkpoint_directory(const std::filesystem::path& run_directory) {
  return run_directory / "checkpoints";
}

std::filesystem::path checkpoint_directory(const config::Parameters& parameters) {
  return checkpoint_directory(std::filesystem::path(parameters.output.directory));
}

std::optional<std::filesystem::path> find_checkpoint(const config::Parameters& parameters,
                                                     const std::string& named,
                                                     parallel::Communicator& world) {
  std::string found = named;
  if (found.empty() && world.rank() == 0)
    if (const auto newest = io::newest_checkpoint(checkpoint_directory(parameters)))
      found = newest->string();
  found = world.broadcast(found, 0);
  if (found.empty()) return std::nullopt;
  return found;
}

std::string other_tensors(const io::CheckpointReader& reader,
                          const std::vector<parallel::TensorSpec>& table) {
  std::map<std::string, const parallel::TensorSpec*> expected;
  for (const parallel::TensorSpec& spec : table) expected[spec.name] = &spec;
  std::string problems;
  for (const io::CheckpointReader::TensorShape& tensor : reader.tensors()) {
    const auto it = expected.find(tensor.name);
    if (it == expected.end())
      problems += fmt::format("\n  {}: not in this model", tensor.name);
    else if (it->second->rows != tensor.rows || it->second->cols != tensor.cols)
      problems += fmt::format("\n  {}: ({}, {}) there, ({}, {}) in this model", tensor.name,
                              tensor.rows, tensor.cols, it->second->rows, it->second->cols);
    if (it != expected.end()) expected.erase(it);
    if (problems.size() > 600) break;
  }
  for (const auto& [name, spec] : expected)
    if (problems.size() < 900) problems += fmt::format("\n  {}: missing in the checkpoint", name);
  return problems;
}

void require_same_model(const io::CheckpointReader& reader,
                        const std::vector<parallel::TensorSpec>& table) {
  const std::string problems = other_tensors(reader, table);
  if (!problems.empty())
    throw Error(ExitStatus::bad_data,
                fmt::format("the checkpoint of step {} is of another model:{}\nUse its [model] "
                            "(espalier inspect shows it) or another output.directory",
                            reader.info().step, problems),
                Met::by_every_rank);
}

io::CheckpointReader::Company company(parallel::MpiSession& session) {
  return {.rank = session.rank(),
          .num_ranks = session.size(),
          .on_rank_0 =
              [&session](const std::function<std::string()>& action) {
                return parallel::on_rank_0(session, action);
              },
          .least =
              [&session](double mine) {
                session.world().all_reduce_min(std::span(&mine, 1));
                return mine;
              }};
}

std::vector<io::CheckpointReader::Wanted> wanted_state(const parallel::ParameterStore& parameters) {
  std::vector<io::CheckpointReader::Wanted> wanted;
  for (const parallel::OwnedShard& shard : parameters.shards())
    wanted.push_back({parameters.tensor_of(shard).spec->name, shard.rectangle});
  return wanted;
}

std::vector<io::CheckpointReader::Wanted> wanted_weights(
    const std::vector<parallel::TensorSpec>& table, const parallel::ProcessGrid& grid) {
  std::vector<io::CheckpointReader::Wanted> wanted;
  for (const parallel::TensorSpec& spec : table)
    wanted.push_back({spec.name, parallel::held_shard(spec, grid)});
  return wanted;
}

void keep_expert_bias(io::CheckpointInfo& info, const optim::ExpertBias* bias) {
  if (bias == nullptr) return;
  info.expert_bias.assign(bias->values().begin(), bias->values().end());
  info.num_experts = bias->num_experts();
}

void load_expert_bias(device::Context& context, const io::CheckpointInfo& info,
                      optim::ExpertBias* bias) {
  if (bias == nullptr) {
    const bool is_biased = std::any_of(info.expert_bias.begin(), info.expert_bias.end(),
                                       [](float value) { return value != 0.0F; });
    if (is_biased && log::rank() == 0)
      log::warn(
          "the checkpoint of step {} chose its experts with a bias, which experts.balance other "
          "than \"bias\" leaves out: tokens will go to other experts at once, and later "
          "checkpoints have no bias",
          info.step);
    return;
  }
  std::vector<float> values = info.expert_bias;
  values.resize(values.empty() ? bias->values().size() : values.size());
  require(values.size() == bias->values().size() &&
              (info.expert_bias.empty() || info.num_experts == bias->num_experts()),
          ExitStatus::bad_data,
          "the checkpoint of step {} has a bias of {} experts, the model has {} in {} blocks: it "
          "is damaged, or of another model",
          info.step, info.expert_bias.size(), bias->num_experts(), bias->num_blocks());
  bias->set(context, values);
}

void load_state(device::Context& context, io::CheckpointReader& reader, optim::AdamW& optimizer,
                const std::function<void()>& between) {
  using Field = io::CheckpointReader::Field;
  for (optim::StateShard& state : optimizer.state()) {
    const auto& tensor = optimizer.store().tensor_of(state.shard);
    if (state.shard.rectangle.empty()) continue;
    activity::enter("reading a checkpoint");  // each tensor is a sign of life
    if (between) between();
    for (const auto& [field, view] :
         {std::pair{Field::master, state.master}, std::pair{Field::exp_avg, state.m},
          std::pair{Field::exp_avg_sq, state.v}})
      fill_from_host(context, view, [&, f = field](float* values) {
        reader.read(tensor.spec->name, tensor.spec->rows, tensor.spec->cols, state.shard.rectangle,
                    f, values);
      });
  }
}

void load_weights(device::Context& context, io::CheckpointReader& reader,
                  const std::vector<parallel::LocalTensor>& tensors,
                  const parallel::ProcessGrid& grid) {
  device::Context host;
  std::vector<float> values;
  std::vector<std::byte> rounded;
  for (const parallel::LocalTensor& tensor : tensors) {
    const parallel::Rectangle shard = parallel::held_shard(*tensor.spec, grid);
    if (shard.empty()) continue;
    values.resize(static_cast<std::size_t>(shard.size()));
    reader.read(tensor.spec->name, tensor.spec->rows, tensor.spec->cols, shard,
                io::CheckpointReader::Field::master, values.data());
    const auto read = device::view_of(values.data(), shard.rows(), shard.cols());
    if (context.on_host()) {
      kernels::cast(context, tensor.weight, read);
      continue;
    }
    rounded.resize(static_cast<std::size_t>(tensor.weight.size_bytes()));
    kernels::cast(host, {rounded.data(), tensor.weight.dtype, read.rows, read.cols, read.cols},
                  read);
    context.upload(tensor.weight, rounded.data());
  }
}

namespace {

/// Copies from a GPU for the writer's thread and for the update, in a stream of its own. What it
/// copies must not be under way to change.
class FetchFromGpu {
 public:
  explicit FetchFromGpu(std::shared_ptr<device::Gpu> gpu)
      : gpu_(std::move(gpu)),
        stream_(gpu_->create_stream(/*urgent=*/false)),
        pinned_(gpu_->allocate_pinned(kPinnedBytes)) {}
  ~FetchFromGpu() {
    gpu_->release_pinned(pinned_);
    gpu_->destroy(stream_);
  }
  FetchFromGpu(const FetchFromGpu&) = delete;
  FetchFromGpu& operator=(const FetchFromGpu&) = delete;

  void operator()(float* to, const float* from, std::int64_t count) {
    const std::scoped_lock lock(mutex_);  // one staging for both threads
    constexpr std::int64_t kAtOnce = kPinnedBytes / static_cast<std::int64_t>(sizeof(float));
    for (std::int64_t first = 0; first < count; first += kAtOnce) {
      const std::int64_t elements = std::min(kAtOnce, count - first);
      const std::int64_t bytes = elements * static_cast<std::int64_t>(sizeof(float));
      gpu_->copy_to_host(pinned_, from + first, {1, bytes, bytes, bytes}, stream_);
      gpu_->synchronize(stream_);
      std::memcpy(to + first, pinned_, static_cast<std::size_t>(bytes));
    }
  }

 private:
  static constexpr std::int64_t kPinnedBytes = plan::kCheckpointPinnedBytes;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream stream_;
  void* pinned_;
  std::mutex mutex_;
};

/// Null on the host, where the writer reads the memory itself.
io::CheckpointWriter::Fetch fetch_from(const device::Context& context) {
  if (context.on_host()) return {};
  const auto fetch = std::make_shared<FetchFromGpu>(context.shared_gpu());
  return [fetch](float* to, const float* from, std::int64_t count) { (*fetch)(to, from, count); };
}

/// encode_index of the shards of every rank, without asking them.
std::vector<std::string> indices_of_grid(std::span<const parallel::LocalTensor> tensors,
                                         const parallel::GridShape& shape,
                                         const parallel::GridViews& views) {
  std::vector<std::string> indices;
  for (int rank = 0; rank < shape.size(); ++rank) {
    const parallel::ProcessGrid grid(shape, rank, views);
    std::vector<io::CheckpointShard> shards;
    for (const parallel::LocalTensor& tensor : tensors)
      shards.push_back({.name = tensor.spec->name,
                        .global_rows = tensor.spec->rows,
                        .global_cols = tensor.spec->cols,
                        .is_vector = tensor.spec->is_vector,
                        .rectangle = parallel::written_shard(*tensor.spec, grid),
                        .master = nullptr,
                        .exp_avg = nullptr,
                        .exp_avg_sq = nullptr,
                        .state_index = 0});
    indices.push_back(io::CheckpointWriter::encode_index(shards));
  }
  return indices;
}

/// Of a parameter in a checkpoint: weight and two moments in fp32.
constexpr std::int64_t kStateBytes = 3 * sizeof(float);

/// 32 bits, of which a double holds the sum over two million ranks.
double checksum_of(const std::string& index) {
  return static_cast<double>(hash_text(index) >> 32);
}

}  // namespace

CheckpointDriver::CheckpointDriver(const config::Parameters& parameters, device::Context& context,
                                   optim::AdamW& optimizer, const parallel::GridShape& shape,
                                   parallel::Communicator& world)
    : parameters_(parameters.checkpoint), context_(context), optimizer_(optimizer), world_(world) {
  using Staging = io::CheckpointWriter::Staging;
  KeptTokenizer tokenizer;
  if (world.rank() == 0) tokenizer = tokenizer_to_keep(parameters.data.tokenizer);
  tokenizer_file_ = tokenizer.file;
  std::vector<io::KeptFile> kept = std::move(tokenizer.files);
  for (io::KeptFile& file : gemm_algorithms_to_keep(context.gemm()))
    kept.push_back(std::move(file));
  writer_ = std::make_unique<io::CheckpointWriter>(
      checkpoint_directory(parameters), world.rank(), world.size(),
      parameters_.staging == "wait" ? Staging::wait : Staging::copy, fetch_from(context),
      std::move(kept));
  if (world_.rank() == 0)
    if (const auto why =
            io::set_stripe_count(checkpoint_directory(parameters), parameters_.stripe_count))
      log::warn("{}", *why);
  if (world_.rank() == 0)
    indices_ = indices_of_grid(optimizer.store().tensors(), shape, config::grid_views(parameters));
  for (const parallel::LocalTensor& tensor : optimizer.store().tensors())
    bytes_ += tensor.spec->num_elements() * kStateBytes;
  writer_->use_direct_io(parameters_.direct_io);
  if (parameters_.layout == "shared")
    writer_->use_shared_file(world_.broadcast(
        world_.rank() == 0 ? io::CheckpointWriter::shared_layout(indices_) : std::string(), 0));
  // What rank 0 has worked out is what the ranks hold.
  double expected = 0.0;
  for (const std::string& index : indices_) expected += checksum_of(index);
  double sums[] = {checksum_of(io::CheckpointWriter::encode_index(shards())), expected};
  world_.all_reduce_sum(std::span<double>(sums));
  ESPALIER_ASSERT(sums[0] == sums[1], "the ranks hold other rectangles than the grid {} says",
                  parallel::ProcessGrid(shape, world_.rank()).describe());
}

CheckpointDriver::~CheckpointDriver() = default;

std::vector<io::CheckpointShard> CheckpointDriver::shards() const {
  std::vector<io::CheckpointShard> shards;
  const auto states = optimizer_.state();
  for (std::size_t i = 0; i < states.size(); ++i) {
    const optim::StateShard& state = states[i];
    const parallel::Rectangle& written = state.shard.written;
    if (!state.shard.writes || written.empty()) continue;
    const parallel::TensorSpec& spec = *optimizer_.store().tensor_of(state.shard).spec;
    const std::int64_t row = written.row_begin - state.shard.rectangle.row_begin;
    shards.push_back({.name = spec.name,
                      .global_rows = spec.rows,
                      .global_cols = spec.cols,
                      .is_vector = spec.is_vector,
                      .rectangle = written,
                      .master = state.master.as<float>(row),
                      .exp_avg = state.m.as<float>(row),
                      .exp_avg_sq = state.v.as<float>(row),
                      .state_index = static_cast<std::int64_t>(i)});
  }
  return shards;
}

/// Adds its lifetime to the time that the training waited for a save.
class CheckpointDriver::Stall {
 public:
  explicit Stall(CheckpointDriver& driver) : driver_(driver) {}
  ~Stall() {
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    driver_.stall_s_ += seconds;
    driver_.all_stalls_s_ += seconds;
  }
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  CheckpointDriver& driver_;
  Clock::time_point begin_ = Clock::now();
};

void CheckpointDriver::begin(const io::CheckpointInfo& info) {
  ESPALIER_ASSERT(!is_saving(), "the save of step {} is not over", info_.step);
  stall_s_ = 0.0;
  const Stall stall(*this);
  info_ = info;
  info_.tokenizer_file = tokenizer_file_;
  info_.is_shared = parameters_.layout == "shared";
  context_.synchronize();  // the last update is done
  writer_->begin(info_, shards(), indices_);
  part_ = Part::writing;
}

void CheckpointDriver::expect_no_update() {
  writer_->expect_no_update();
}

bool CheckpointDriver::is_part_done() {
  if (part_ == Part::writing) return writer_->is_written();
  return part_ == Part::completing && (world_.rank() != 0 || writer_->is_complete());
}

std::optional<SaveReport> CheckpointDriver::next_part() {
  ESPALIER_ASSERT(is_saving(), "no save is under way");
  if (part_ == Part::completing) return end_of_save();
  const Stall stall(*this);
  if (world_.rank() == 0)
    writer_->start_commit(info_, indices_,
                          {.newest = parameters_.keep,
                           .every = parameters_.keep_every,
                           .hours = parameters_.keep_hours});
  else
    writer_->release();
  part_ = Part::completing;
  return std::nullopt;
}

SaveReport CheckpointDriver::end_of_save() {
  part_ = Part::none;
  double slowest[] = {writer_->written_s(), writer_->committed_s(), stall_s_};
  world_.all_reduce_max(std::span<double>(slowest));
  return {.step = info_.step,
          .write_s = slowest[0] + slowest[1],
          .stall_s = slowest[2],
          .bytes = bytes_};
}

std::optional<SaveReport> CheckpointDriver::finish() {
  std::optional<SaveReport> report;
  if (is_saving()) {
    {
      const Stall stall(*this);
      if (part_ == Part::writing) {
        writer_->wait();
        const activity::Scope waiting("waiting for the other ranks");
        world_.barrier();  // every rank's file is on disk
        next_part();
      }
      if (world_.rank() == 0) writer_->wait_complete();
      const activity::Scope waiting("waiting for the other ranks");
      world_.barrier();
    }
    report = end_of_save();
  }
  writer_->wait_pruned();
  return report;
}

void CheckpointDriver::before_overwrite(std::int64_t state_index) {
  if (part_ != Part::writing) return;
  const Stall stall(*this);
  writer_->before_overwrite(state_index);
}

}  // namespace espalier::train
