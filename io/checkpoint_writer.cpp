#include <algorithm>
#include <optional>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_commit.hpp"
#include "io/checkpoint_save.hpp"
#include "io/hdf5.hpp"

// The life of saves on all ranks: begun together, then committed or given up. What one rank does
// meanwhile is in checkpoint_save.cpp.

namespace espalier::io {

namespace fs = std::filesystem;

struct CheckpointWriter::Implementation {
  explicit Implementation(SaveSettings of_saves) : settings(std::move(of_saves)) {}

  SaveSettings settings;
  SaveMemory memory;                       ///< kept from one save to the next
  std::optional<CheckpointSave> save;      ///< from begin until complete, released or discarded
  std::optional<CheckpointCommit> ending;  ///< rank 0: of `save`, or of the one before
  bool is_ending = false;                  ///< of `save`
  double written_s = 0.0, committed_s = 0.0;

  void check_indices(std::span<const std::string> indices,
                     std::span<const CheckpointShard> shards) const;
  void finish_files(const CheckpointInfo& info, std::span<const std::string> indices);
};

CheckpointWriter::CheckpointWriter(fs::path directory, int rank, int num_ranks, Staging staging,
                                   Fetch fetch, std::vector<KeptFile> kept)
    : implementation_(std::make_unique<Implementation>(SaveSettings{
          std::move(directory), rank, num_ranks, staging, std::move(fetch), std::move(kept)})) {
  const fs::path& where = implementation_->settings.directory;
  {
    // The library asks MPI about itself when it starts; that is for the main thread.
    const auto lock = hdf5_lock();
    ESPALIER_HDF5(internal, where, H5open());
  }
  if (rank == 0) {
    create_folder(where);
    remove_stale(where);
  }
}

CheckpointWriter::~CheckpointWriter() {
  discard();
}

void CheckpointWriter::use_shared_file(std::string layout) {
  ESPALIER_ASSERT(!implementation_->save, "a save is under way");
  implementation_->settings.shared_layout = std::move(layout);
}

void CheckpointWriter::use_direct_io(bool wanted) {
  ESPALIER_ASSERT(!implementation_->save, "a save is under way");
  implementation_->settings.direct_io = wanted;
}

void CheckpointWriter::expect_no_update() {
  implementation_->settings.staging = Staging::wait;
}

std::string CheckpointWriter::shared_layout(std::span<const std::string> indices) {
  const CheckpointIndex index = CheckpointIndex::decode(indices);
  Hdf5Image image;
  return encode_shared_layout(write_shared_structure(image, kSharedName, nullptr, index), index);
}

void CheckpointWriter::begin(const CheckpointInfo& info, std::vector<CheckpointShard> shards,
                             std::span<const std::string> indices) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(!self.save, "the save of step {} is not over", self.save->step());
  ESPALIER_ASSERT(info.num_ranks == self.settings.num_ranks, "{} != {}", info.num_ranks,
                  self.settings.num_ranks);
  std::erase_if(shards, [](const CheckpointShard& shard) { return shard.rectangle.empty(); });
  std::unordered_set<std::string_view> names;
  for (const CheckpointShard& shard : shards) {
    ESPALIER_ASSERT(names.insert(shard.name).second, "two shards of {} on one rank", shard.name);
    ESPALIER_ASSERT(
        shard.master != nullptr && shard.exp_avg != nullptr && shard.exp_avg_sq != nullptr, "{}",
        shard.name);
  }
  std::vector<std::string> of_ranks;
  if (self.settings.rank == 0 && !indices.empty()) {
    self.check_indices(indices, shards);
    of_ranks.assign(indices.begin(), indices.end());
  }
  wait_pruned();
  ESPALIER_ASSERT(
      self.settings.shared_layout.empty() || self.settings.rank != 0 || !of_ranks.empty(),
      "a shared file needs the indices of all ranks");
  ESPALIER_ASSERT(info.is_shared == !self.settings.shared_layout.empty(), "{}", info.is_shared);
  self.save.emplace(self.settings, self.memory, info, std::move(shards), std::move(of_ranks));
}

bool CheckpointWriter::is_saving() const {
  return implementation_->save.has_value();
}

bool CheckpointWriter::is_written() {
  Implementation& self = *implementation_;
  return self.save && self.save->is_written();
}

void CheckpointWriter::wait() {
  if (implementation_->save) implementation_->save->wait();
}

void CheckpointWriter::before_overwrite(std::int64_t state_index) {
  if (implementation_->save) implementation_->save->before_overwrite(state_index);
}

void CheckpointWriter::start_commit(const CheckpointInfo& info,
                                    std::span<const std::string> indices, KeepRules keep) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(self.settings.rank == 0, "commit on rank {}", self.settings.rank);
  ESPALIER_ASSERT(self.save && info.step == self.save->step(), "no save of step {}", info.step);
  self.check_indices(indices, self.save->shards());
  ESPALIER_ASSERT(is_written(), "commit before this rank's file is written");
  wait_pruned();
  self.is_ending = true;
  self.ending.emplace(
      [&self, info, indices = std::vector<std::string>(indices.begin(), indices.end())] {
        try {
          self.finish_files(info, indices);
          publish(self.settings.directory, info.step, marker_text(info));
        } catch (const Error& error) {
          throw self.save->explain(error);
        }
      },
      [&self, step = info.step, keep] { return prune(self.settings.directory, step, keep); });
}

bool CheckpointWriter::is_complete() {
  Implementation& self = *implementation_;
  if (!self.is_ending || !self.ending->is_complete()) return false;
  self.written_s = self.save->seconds();
  self.committed_s = self.ending->seconds();
  self.is_ending = false;
  self.save.reset();
  return true;
}

void CheckpointWriter::wait_complete() {
  if (!implementation_->is_ending) return;
  implementation_->ending->wait_complete();
  is_complete();
}

void CheckpointWriter::wait_pruned() {
  Implementation& self = *implementation_;
  if (!self.ending || self.is_ending) return;
  for (const std::string& warning : self.ending->wait_pruned()) log::warn("{}", warning);
  self.ending.reset();
}

void CheckpointWriter::commit(const CheckpointInfo& info, std::span<const std::string> indices,
                              KeepRules keep) {
  Implementation& self = *implementation_;
  start_commit(info, indices, keep);
  try {
    wait_complete();
  } catch (...) {
    self.is_ending = false;
    self.ending.reset();
    throw;
  }
  wait_pruned();
}

void CheckpointWriter::release() {
  Implementation& self = *implementation_;
  if (self.save) self.written_s = self.save->seconds();
  self.save.reset();
}

double CheckpointWriter::written_s() const {
  return implementation_->written_s;
}

double CheckpointWriter::committed_s() const {
  return implementation_->committed_s;
}

void CheckpointWriter::discard() {
  std::optional<CheckpointSave>& save = implementation_->save;
  implementation_->ending.reset();  // what it is doing is done first
  implementation_->is_ending = false;
  if (!save) return;
  save->cancel();
  const fs::path folder = save->folder();
  const fs::path file = save->file();
  const fs::path temporary = save->temporary_file();
  const fs::path temporary_master = save->temporary_master();
  save.reset();
  std::error_code ignored;
  fs::remove(temporary, ignored);
  fs::remove(file, ignored);
  if (implementation_->settings.rank == 0) {
    fs::remove(folder / kMasterName, ignored);
    fs::remove(folder / kSharedName, ignored);
    fs::remove(temporary_master, ignored);
    fs::remove(folder / kTemporaryMarkerName, ignored);
    remove_kept_files(folder, implementation_->settings.kept);
  }
  fs::remove(folder, ignored);  // succeeds on the last rank: only then it is empty
}

void CheckpointWriter::Implementation::check_indices(
    std::span<const std::string> indices, std::span<const CheckpointShard> shards) const {
  ESPALIER_ASSERT(settings.rank == 0 && std::ssize(indices) == settings.num_ranks,
                  "{} indices on rank {}", indices.size(), settings.rank);
  ESPALIER_ASSERT(indices[0] == encode_index(shards),
                  "the index of rank 0 is not of the shards it writes");
}

/// master.h5 under its name in the partial folder, which then holds every file but the marker.
void CheckpointWriter::Implementation::finish_files(const CheckpointInfo& info,
                                                    std::span<const std::string> indices) {
  if (save->is_shared()) return save->finish_shared_file();
  const fs::path folder = save->folder();
  std::vector<std::uint64_t> rank_file_bytes;
  for (int i = 0; i < settings.num_ranks; ++i) {
    const fs::path path = folder / rank_file_name(i);
    std::error_code error;
    rank_file_bytes.push_back(fs::file_size(path, error));
    if (error) fail_io("look at", path, error.value());
  }
  const fs::path temporary = save->temporary_master();
  Hdf5Image& master = save->master(info, indices);
  finish_master_file(master, temporary, rank_file_bytes);
  master.save_as(temporary).flush();
  rename_path(temporary, folder / kMasterName);
  flush_folder(folder);
}

}  // namespace espalier::io
