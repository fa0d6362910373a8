#include "io/checkpoint_save.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "base/host_loops.hpp"
#include "base/text.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

/// Written between two looks at whether the save was given up.
constexpr std::uint64_t kChunkBytes = std::uint64_t{16} << 20;

/// Thrown inside the thread only: the save was given up.
struct Cancelled {};

/// SIGTERM and the like are for the main thread; SIGXFSZ would end the program where a limit of
/// the file size is better met as an error of the write.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Takes the space now, so that a full disk is found before the first byte; file systems that
/// cannot do it say so.
void reserve_space(const FileDescriptor& out) {
  const std::uint64_t bytes = out.size();
  if (::fallocate(out.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
    fail_io(fmt::format("reserve {} for", human_bytes(static_cast<double>(bytes))), out.path(),
            errno);
}

}  // namespace

CheckpointSave::CheckpointSave(const SaveSettings& settings, SaveMemory& memory,
                               CheckpointInfo info, std::vector<CheckpointShard> shards,
                               std::vector<std::string> indices)
    : settings_(settings),
      memory_(memory),
      info_(std::move(info)),
      shards_(std::move(shards)),
      indices_(std::move(indices)),
      slots_(shards_.size()) {
  for (std::size_t i = 0; i < shards_.size(); ++i)
    shards_of_state_.emplace(shards_[i].state_index, i);
  memory_.copies.resize(shards_.size());
  writer_ = std::thread([this] { run(); });
  if (settings_.staging != CheckpointWriter::Staging::copy) return;
  try {
    copier_ = std::thread([this] { copy_ahead(); });
  } catch (const std::system_error&) {
    // The job may have no further threads: then the update makes its copies itself.
  }
}

CheckpointSave::~CheckpointSave() {
  writer_.join();
  if (copier_.joinable()) copier_.join();
  if (!finished_) return;  // it says nothing of the next one
  memory_.until_update_s = until_update_s_;
  memory_.written_s = seconds_;
}

// ---- the main thread ----

bool CheckpointSave::is_written() {
  const std::lock_guard lock(mutex_);
  throw_failure();
  return finished_;
}

void CheckpointSave::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return finished_ || failure_; });
  throw_failure();
}

void CheckpointSave::before_overwrite(std::int64_t state_index) {
  if (!until_update_s_) until_update_s_ = seconds_since(begin_);
  const auto [begin, end] = shards_of_state_.equal_range(state_index);
  for (auto found = begin; found != end; ++found) make_room_for_change(found->second);
}

void CheckpointSave::cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  changed_.notify_all();
}

Hdf5Image& CheckpointSave::master(const CheckpointInfo& info,
                                  std::span<const std::string> indices) {
  if (!master_) build_master(info, indices);
  ESPALIER_ASSERT(indices_.empty() ||
                      std::equal(indices.begin(), indices.end(), indices_.begin(), indices_.end()),
                  "begin and commit were given different indices");
  return *master_;
}

std::uint64_t CheckpointSave::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const CheckpointShard& shard : shards_) {
    bytes += static_cast<std::uint64_t>(shard.rectangle.size()) * kNumFields * sizeof(float);
  }
  return bytes;
}

Error CheckpointSave::explain(const std::exception& error) const {
  const auto* own = dynamic_cast<const Error*>(&error);
  if (own != nullptr && own->status() == ExitStatus::internal) return *own;
  std::string last = "there is no complete checkpoint yet";
  try {
    if (const auto newest = newest_checkpoint(settings_.directory)) {
      last = fmt::format("the last complete checkpoint is {}", newest->string());
    }
  } catch (const std::exception&) {
    // The first error is the one to tell.
    last = "the checkpoints already there could not be listed";
  }
  const std::uint64_t bytes = data_bytes();
  return Error(
      ExitStatus::io_error,
      fmt::format("checkpoint of step {}: {}. This rank's file needs {}; {}. Make room or make the "
                  "folder writable and submit the same command again.",
                  info_.step, error.what(), human_bytes(static_cast<double>(bytes)), last));
}

void CheckpointSave::throw_failure() const {
  if (failure_) throw Error(*failure_);
}

/// to (fields, rows * cols)
void CheckpointSave::copy_fields(float* to, const CheckpointShard& shard,
                                 bool with_host_threads) const {
  const auto elements = shard.rectangle.size();
  for (const float* from : {shard.master, shard.exp_avg, shard.exp_avg_sq}) {
    if (settings_.fetch) {
      settings_.fetch(to, from, elements);
    } else if (with_host_threads) {
      host_for_ranges(elements, 4096, [&](std::int64_t begin, std::int64_t end) {
        std::memcpy(to + begin, from + begin,
                    static_cast<std::size_t>(end - begin) * sizeof(float));
      });
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(elements) * sizeof(float));
    }
    to += elements;
  }
}

/// Of a waiting shard. False when memory is short; it then still waits.
bool CheckpointSave::copy_shard(std::unique_lock<std::mutex>& lock, std::size_t index,
                                bool with_host_threads) {
  Slot& slot = slots_[index];
  const CheckpointShard& shard = shards_[index];
  std::unique_ptr<float[]>& copy = memory_.copies[index];
  slot.state = ShardState::copying;
  lock.unlock();
  bool has_room = false;
  try {
    // Not cleared: it is copied over, by the threads that touch it first.
    const auto elements = static_cast<std::size_t>(kNumFields * shard.rectangle.size());
    if (!copy) copy.reset(new (std::nothrow) float[elements]);
    has_room = copy != nullptr;
    if (has_room) copy_fields(copy.get(), shard, with_host_threads);
  } catch (...) {
    lock.lock();
    slot.state = ShardState::waiting;
    throw;
  }
  lock.lock();
  slot.state = has_room ? ShardState::copied : ShardState::waiting;
  slot.copy = copy.get();
  changed_.notify_all();
  return has_room;
}

void CheckpointSave::make_room_for_change(std::size_t index) {
  Slot& slot = slots_[index];
  std::unique_lock lock(mutex_);
  throw_failure();
  // When memory is short the update waits instead.
  if (slot.state == ShardState::waiting && settings_.staging == CheckpointWriter::Staging::copy)
    copy_shard(lock, index, /*with_host_threads=*/true);
  // A shard that is written from its copy: the live memory is free already.
  changed_.wait(
      lock, [&] { return slot.copy != nullptr || slot.state == ShardState::written || failure_; });
  throw_failure();
}

// ---- the copier ----

/// What was written of the last save when its update came is left to the writer, with room for a
/// slower disk; of the first save, all is copied.
std::size_t CheckpointSave::first_to_copy() const {
  if (memory_.written_s <= 0.0) return 0;
  if (!memory_.until_update_s) return shards_.size();  // written before any update came
  constexpr double kTrust = 0.7;
  const double written = kTrust * *memory_.until_update_s / memory_.written_s;
  const double own_bytes = static_cast<double>(data_bytes());
  double bytes = 0.0;
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    bytes += static_cast<double>(shards_[i].rectangle.size()) * kNumFields * sizeof(float);
    if (bytes > written * own_bytes) return i;
  }
  return shards_.size();
}

void CheckpointSave::copy_ahead() {
  block_signals();
  try {
    const std::size_t first = first_to_copy();
    for (std::size_t i = shards_.size(); i-- > first;) {
      std::unique_lock lock(mutex_);
      if (cancelled_ || failure_ || finished_) return;
      if (slots_[i].state != ShardState::waiting) continue;
      if (!copy_shard(lock, i, /*with_host_threads=*/false)) return;
    }
  } catch (const std::exception& error) {  // a GPU that does not answer
    fail_with(explain(error));
  }
}

/// The first error stays; the writer gives up.
void CheckpointSave::fail_with(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = error;
    cancelled_ = true;
  }
  changed_.notify_all();
}

// ---- the writer ----

/// By the writer or, when it did not know the indices, by commit.
void CheckpointSave::build_master(const CheckpointInfo& info,
                                  std::span<const std::string> indices) {
  const CheckpointIndex index = CheckpointIndex::decode(indices);
  write_master_file(master_.emplace(), temporary_master(), info, index);
}

void CheckpointSave::run() {
  block_signals();
  std::optional<Error> error_met;
  try {
    if (is_shared())
      write_shared_file();
    else
      write_file();
    if (!is_shared() && !indices_.empty()) build_master(info_, indices_);
  } catch (const Cancelled&) {
    error_met = Error(ExitStatus::io_error, "the save was given up");
  } catch (const std::exception& error) {
    error_met = explain(error);
  }
  {
    const std::lock_guard lock(mutex_);
    seconds_ = seconds_since(begin_);
    if (error_met && !failure_) failure_ = std::move(error_met);
    finished_ = !failure_;
  }
  changed_.notify_all();
}

void CheckpointSave::write_file() {
  stop_if_cancelled();
  create_folder(folder());
  const fs::path temporary = temporary_file();
  require_file_size(data_bytes(), temporary);
  Hdf5Image structure;
  const RankFileLayout layout =
      create_rank_file(structure, temporary, info_, settings_.rank, shards_);
  FileDescriptor out = structure.save_as(temporary);
  reserve_space(out);
  write_shards(out, layout.fields, layout.checksums);
  stop_if_cancelled();
  if (settings_.rank == 0) write_kept_files(folder(), settings_.kept);
  out.flush();
  rename_path(temporary, file());
  flush_folder(folder());
}

/// The structure is rank 0's. Nobody empties the file, since others may have begun to write it;
/// every byte of it is written by somebody.
void CheckpointSave::write_shared_file() {
  stop_if_cancelled();
  create_folder(folder());
  FileDescriptor out(temporary_file(), O_RDWR | O_CREAT);
  if (settings_.rank == 0) {
    const CheckpointIndex index = CheckpointIndex::decode(indices_);
    Hdf5Image image;
    const SharedLayout layout = write_shared_structure(image, temporary_file(), &info_, index);
    ESPALIER_ASSERT(encode_shared_layout(layout, index) == settings_.shared_layout,
                    "tensors lie elsewhere in the file than in that of the first save");
    require_file_size(image.size(), temporary_file());
    save_structure(out, image, layout, index, kNumFields);
    reserve_space(out);
    write_kept_files(folder(), settings_.kept);
  }
  const SharedPlace place = decode_shared_place(settings_.shared_layout, settings_.rank, shards_);
  write_shards(out, place.shards, place.checksums);
  stop_if_cancelled();
  out.flush();
}

void CheckpointSave::finish_shared_file() {
  rename_path(temporary_file(), folder() / kSharedName);
  flush_folder(folder());
}

void CheckpointSave::write_shards(FileDescriptor& out, const ShardOffsets& offsets,
                                  std::uint64_t checksums_offset) {
  ShardChecksums checksums(shards_.size());
  DirectFile direct(out, settings_.direct_io);
  memory_.fetched.clear();
  while (const auto next = take_next_shard()) {
    const CheckpointShard& shard = shards_[*next];
    Fields fields = {shard.master, shard.exp_avg, shard.exp_avg_sq};
    // The copy is not touched by anyone else once its state is `copied`.
    const float* copy = slots_[*next].copy;
    if (copy != nullptr) {
      for (std::size_t field = 0; field < kNumFields; ++field) {
        fields[field] = copy + static_cast<std::int64_t>(field) * shard.rectangle.size();
      }
    }
    const bool in_host_memory = !settings_.fetch || copy != nullptr;
    write_shard(direct, out, *next, fields, in_host_memory, offsets[*next], checksums[*next]);
  }
  if (!checksums.empty()) {
    out.write_at(checksums.data(), checksums.size() * sizeof(checksums[0]), checksums_offset);
  }
}

/// The first shard that can be written, now `writing`; nothing when all are written. Waits while
/// all that is left is being copied.
std::optional<std::size_t> CheckpointSave::take_next_shard() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (cancelled_) throw Cancelled();
    bool all_written = true;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      ShardState& state = slots_[i].state;
      if (state == ShardState::waiting || state == ShardState::copied) {
        state = ShardState::writing;
        return i;
      }
      all_written = all_written && state == ShardState::written;
    }
    if (all_written) return std::nullopt;
    changed_.wait(lock);
  }
}

void CheckpointSave::write_shard(DirectFile& direct, FileDescriptor& out, std::size_t index,
                                 const Fields& fields, bool in_host_memory,
                                 const std::array<std::uint64_t, kNumFields>& offsets,
                                 std::array<std::uint64_t, kNumFields>& checksums) {
  const auto elements = static_cast<std::size_t>(shards_[index].rectangle.size());
  for (std::size_t field = 0; field < kNumFields; ++field) {
    const float* values = fields[field];
    if (!in_host_memory) {
      stop_if_cancelled();
      if (memory_.fetched.size() < elements) memory_.fetched.resize(elements);
      settings_.fetch(memory_.fetched.data(), values, shards_[index].rectangle.size());
      values = memory_.fetched.data();
    }
    const auto bytes = std::as_bytes(std::span(values, elements));
    checksums[field] = hash_bytes(bytes);
    // Rows that are not whole in the shared file lie apart there.
    const parallel::Rectangle& r = shards_[index].rectangle;
    const bool apart = is_shared() && r.cols() != shards_[index].global_cols;
    const std::uint64_t row = static_cast<std::uint64_t>(r.cols()) * sizeof(float);
    const std::uint64_t gap =
        apart ? static_cast<std::uint64_t>(shards_[index].global_cols - r.cols()) * sizeof(float)
              : 0;
    std::uint64_t at = offsets[field], written = 0, started = at, done = 0;
    while (done < bytes.size()) {
      // Chunks end on pages, so that all between them can be written past the cache.
      const std::uint64_t part =
          std::min(apart ? row : kChunkBytes - at % DirectFile::page_bytes(), bytes.size() - done);
      if (apart)
        out.write_at(bytes.data() + done, part, at);
      else
        direct.write_at(bytes.data() + done, part, at);
      done += part;
      at += part;
      written += part;
      if (written >= kChunkBytes - DirectFile::page_bytes() || done == bytes.size()) {
        stop_if_cancelled();
        // Starts the transfer to the disk now, so that the flush at the end finds little to do.
        ::sync_file_range(out.get(), static_cast<off_t>(started), static_cast<off_t>(at - started),
                          SYNC_FILE_RANGE_WRITE);
        started = at + gap;
        written = 0;
      }
      at += gap;
    }
  }
  {
    const std::lock_guard lock(mutex_);
    slots_[index].state = ShardState::written;
  }
  changed_.notify_all();
}

void CheckpointSave::stop_if_cancelled() {
  const std::lock_guard lock(mutex_);
  if (cancelled_) throw Cancelled();
}

}  // namespace espalier::io
