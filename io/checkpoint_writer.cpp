#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "io/checkpoint.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"
#include "io/hdf5.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

/// Written between two looks at whether the save was given up.
constexpr std::uint64_t kChunkBytes = std::uint64_t{16} << 20;

/// The life of a piece during a save. Who may move it on:
///
///   waiting --thread--> writing --thread--> written
///      |                   ^
///      +--main--> copying --main--> copied --thread--> writing
///
/// The live memory may change once the piece is `copied` or `written`.
enum class PieceState : std::uint8_t { waiting, copying, copied, writing, written };

using Sources = std::array<const float*, kNumFields>;

struct Slot {
  PieceState state = PieceState::waiting;
  std::unique_ptr<float[]> copy;  ///< (fields, rows * cols), from `copied` until `written`
};

/// Thrown inside the thread only: the save was given up.
struct Cancelled {};

/// SIGTERM and the like are for the main thread; SIGXFSZ would end the program where a limit of
/// the file size is better met as an error of the write.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

struct CheckpointWriter::Implementation {
  Implementation(fs::path where, int of_rank, int of_ranks, Staging how, Fetch get)
      : directory(std::move(where)),
        rank(of_rank),
        num_ranks(of_ranks),
        staging(how),
        fetch(std::move(get)) {}

  const fs::path directory;
  const int rank, num_ranks;
  const Staging staging;
  const Fetch fetch;

  // Set in begin, before the thread starts; only read while it runs.
  bool saving = false;
  CheckpointInfo info;
  std::vector<CheckpointPiece> pieces;
  std::vector<std::string> indices;  ///< of all ranks; empty: master.h5 is left to commit
  std::unordered_multimap<std::int64_t, std::size_t> pieces_of_state;
  std::thread thread;
  std::vector<float> fetched;       ///< of the thread: one field of a piece
  std::optional<Hdf5Image> master;  ///< of the thread until it has ended, then of commit

  // Shared with the thread, under `mutex`. `changed`: any state, `finished`, `failure`,
  // `cancelled`.
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Slot> slots;  ///< one per piece
  bool finished = false;
  bool cancelled = false;
  std::optional<Error> failure;

  fs::path folder() const { return partial_folder(directory, info.step); }
  fs::path file() const { return folder() / rank_file_name(rank); }
  /// A name of its own until the file is whole, so that no other rank or later attempt takes half
  /// a file for a file.
  fs::path temporary_file() const { return folder() / (rank_file_name(rank) + ".tmp"); }
  fs::path temporary_master() const { return folder() / (std::string(kMasterName) + ".tmp"); }

  std::uint64_t data_bytes() const;  ///< of this rank's tensors

  // The thread.
  void run();
  void write_file();
  void build_master(const CheckpointInfo& of_save, std::span<const std::string> of_ranks);
  std::optional<std::size_t> take_next_piece();
  void write_piece(FileDescriptor& file, std::size_t piece, const Sources& sources,
                   bool in_host_memory, const std::array<std::uint64_t, kNumFields>& offsets,
                   std::array<std::uint64_t, kNumFields>& checksums);
  void stop_if_cancelled();

  // The main thread.
  void check_indices(std::span<const std::string> of_ranks) const;
  void make_room_for_change(std::size_t piece);
  Error explain(const std::exception& error) const;
  void finish_files(const CheckpointInfo& of_save, std::span<const std::string> of_ranks);
  void throw_failure() const;
  void end_save();
};

CheckpointWriter::CheckpointWriter(fs::path directory, int rank, int num_ranks, Staging staging,
                                   Fetch fetch)
    : implementation_(std::make_unique<Implementation>(std::move(directory), rank, num_ranks,
                                                       staging, std::move(fetch))) {
  {
    // The library asks MPI about itself when it starts; that is for the main thread.
    const auto lock = hdf5_lock();
    ESPALIER_HDF5(internal, implementation_->directory, H5open());
  }
  if (rank == 0) {
    create_folder(implementation_->directory);
    remove_stale(implementation_->directory);
  }
}

CheckpointWriter::~CheckpointWriter() {
  discard();
}

void CheckpointWriter::begin(const CheckpointInfo& info, std::vector<CheckpointPiece> pieces,
                             std::span<const std::string> indices) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(!self.saving, "the save of step {} is not over", self.info.step);
  ESPALIER_ASSERT(info.num_ranks == self.num_ranks, "{} != {}", info.num_ranks, self.num_ranks);
  std::erase_if(pieces, [](const CheckpointPiece& piece) { return piece.rectangle.empty(); });
  std::unordered_set<std::string_view> names;
  self.pieces_of_state.clear();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const CheckpointPiece& piece = pieces[i];
    ESPALIER_ASSERT(names.insert(piece.name).second, "two pieces of {} on one rank", piece.name);
    ESPALIER_ASSERT(
        piece.master != nullptr && piece.exp_avg != nullptr && piece.exp_avg_sq != nullptr, "{}",
        piece.name);
    self.pieces_of_state.emplace(piece.state_index, i);
  }
  self.info = info;
  self.pieces = std::move(pieces);
  self.indices.clear();
  if (self.rank == 0 && !indices.empty()) {
    self.check_indices(indices);
    self.indices.assign(indices.begin(), indices.end());
  }
  self.slots.clear();
  self.slots.resize(self.pieces.size());
  self.finished = false;
  self.cancelled = false;
  self.failure.reset();
  self.thread = std::thread([&self] { self.run(); });
  self.saving = true;
}

bool CheckpointWriter::is_saving() const {
  return implementation_->saving;
}

bool CheckpointWriter::is_written() {
  Implementation& self = *implementation_;
  if (!self.saving) return false;
  const std::lock_guard lock(self.mutex);
  self.throw_failure();
  return self.finished;
}

void CheckpointWriter::wait() {
  Implementation& self = *implementation_;
  if (!self.saving) return;
  std::unique_lock lock(self.mutex);
  self.changed.wait(lock, [&] { return self.finished || self.failure; });
  self.throw_failure();
}

void CheckpointWriter::before_overwrite(std::int64_t state_index) {
  Implementation& self = *implementation_;
  if (!self.saving) return;
  const auto [begin, end] = self.pieces_of_state.equal_range(state_index);
  for (auto found = begin; found != end; ++found) self.make_room_for_change(found->second);
}

void CheckpointWriter::commit(const CheckpointInfo& info, std::span<const std::string> indices,
                              std::int64_t keep, std::int64_t keep_every) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(self.rank == 0, "commit on rank {}", self.rank);
  ESPALIER_ASSERT(self.saving && info.step == self.info.step, "no save of step {}", info.step);
  self.check_indices(indices);
  ESPALIER_ASSERT(is_written(), "commit before this rank's file is written");

  try {
    self.finish_files(info, indices);
    publish(self.directory, info.step,
            fmt::format("step {}\nranks {}\n", info.step, self.num_ranks));
  } catch (const Error& error) {
    throw self.explain(error);
  }
  self.end_save();
  try {
    prune(self.directory, info.step, keep, keep_every);
  } catch (const Error& error) {
    // The new checkpoint is complete; an old one that stays is no reason to end the run.
    log::warn("an older checkpoint stays: {}", error.what());
  }
}

void CheckpointWriter::release() {
  if (implementation_->saving) implementation_->end_save();
}

void CheckpointWriter::discard() {
  Implementation& self = *implementation_;
  if (!self.saving) return;
  {
    const std::lock_guard lock(self.mutex);
    self.cancelled = true;
  }
  self.changed.notify_all();
  const fs::path folder = self.folder();
  const fs::path file = self.file();
  const fs::path temporary = self.temporary_file();
  const fs::path temporary_master = self.temporary_master();
  self.end_save();
  std::error_code ignored;
  fs::remove(temporary, ignored);
  fs::remove(file, ignored);
  if (self.rank == 0) {
    fs::remove(folder / kMasterName, ignored);
    fs::remove(temporary_master, ignored);
    fs::remove(folder / kTemporaryMarkerName, ignored);
  }
  fs::remove(folder, ignored);  // succeeds on the last rank: only then it is empty
}

// ---- the main thread ----

void CheckpointWriter::Implementation::check_indices(std::span<const std::string> of_ranks) const {
  ESPALIER_ASSERT(rank == 0 && std::ssize(of_ranks) == num_ranks, "{} indices on rank {}",
                  of_ranks.size(), rank);
  ESPALIER_ASSERT(of_ranks[0] == encode_index(pieces),
                  "the index of rank 0 is not of the pieces it writes");
}

void CheckpointWriter::Implementation::end_save() {
  if (thread.joinable()) thread.join();
  saving = false;
  pieces.clear();
  pieces_of_state.clear();
  slots.clear();
  master.reset();
}

std::uint64_t CheckpointWriter::Implementation::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const CheckpointPiece& piece : pieces) {
    bytes += static_cast<std::uint64_t>(piece.rectangle.size()) * kNumFields * sizeof(float);
  }
  return bytes;
}

/// A save that failed, for a person: what, what is left, what to do. A fault of the program stays
/// what it is.
Error CheckpointWriter::Implementation::explain(const std::exception& error) const {
  const auto* own = dynamic_cast<const Error*>(&error);
  if (own != nullptr && own->status() == ExitStatus::internal) return *own;
  std::string last = "there is no complete checkpoint yet";
  try {
    if (const auto newest = newest_checkpoint(directory)) {
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
                  info.step, error.what(), human_bytes(static_cast<double>(bytes)), last));
}

void CheckpointWriter::Implementation::throw_failure() const {
  if (failure) throw Error(*failure);
}

/// master.h5 under its name in the partial folder, which then holds every file but the marker.
void CheckpointWriter::Implementation::finish_files(const CheckpointInfo& of_save,
                                                    std::span<const std::string> of_ranks) {
  std::vector<std::uint64_t> rank_file_bytes;
  for (int i = 0; i < num_ranks; ++i) {
    const fs::path path = folder() / rank_file_name(i);
    std::error_code error;
    rank_file_bytes.push_back(fs::file_size(path, error));
    if (error) fail_io("look at", path, error.value());
  }
  if (!master) build_master(of_save, of_ranks);
  ESPALIER_ASSERT(indices.empty() ||
                      std::equal(of_ranks.begin(), of_ranks.end(), indices.begin(), indices.end()),
                  "begin and commit were given different indices");
  finish_master_file(*master, temporary_master(), rank_file_bytes);
  master->save_as(temporary_master()).flush();
  rename_path(temporary_master(), folder() / kMasterName);
  flush_folder(folder());
}

void CheckpointWriter::Implementation::make_room_for_change(std::size_t index) {
  Slot& slot = slots[index];
  const CheckpointPiece& piece = pieces[index];
  const auto elements = piece.rectangle.size();
  std::unique_lock lock(mutex);
  throw_failure();
  if (slot.copy) return;  // the copy is what is written; the live memory is free already
  if (slot.state == PieceState::waiting && staging == Staging::copy) {
    // When memory is short the update waits instead.
    std::unique_ptr<float[]> copy(
        new (std::nothrow) float[static_cast<std::size_t>(kNumFields * elements)]);
    if (copy) {
      slot.state = PieceState::copying;
      lock.unlock();
      const Sources sources = {piece.master, piece.exp_avg, piece.exp_avg_sq};
      for (std::int64_t field = 0; field < kNumFields; ++field) {
        const float* from = sources[static_cast<std::size_t>(field)];
        float* to = copy.get() + field * elements;
        if (fetch) {
          fetch(to, from, elements);
          continue;
        }
        host_for_ranges(elements, 4096, [&](std::int64_t begin, std::int64_t end) {
          std::memcpy(to + begin, from + begin,
                      static_cast<std::size_t>(end - begin) * sizeof(float));
        });
      }
      lock.lock();
      slot.copy = std::move(copy);
      slot.state = PieceState::copied;
      lock.unlock();
      changed.notify_all();
      return;
    }
  }
  changed.wait(lock, [&] {
    return slot.state == PieceState::written || slot.state == PieceState::copied || failure;
  });
  throw_failure();
}

// ---- the thread ----

/// By the thread or, when it did not know the indices, by commit.
void CheckpointWriter::Implementation::build_master(const CheckpointInfo& of_save,
                                                    std::span<const std::string> of_ranks) {
  const CheckpointIndex index = CheckpointIndex::decode(of_ranks);
  write_master_file(master.emplace(), temporary_master(), of_save, index);
}

void CheckpointWriter::Implementation::run() {
  block_signals();
  std::optional<Error> error_met;
  try {
    write_file();
    if (!indices.empty()) build_master(info, indices);
  } catch (const Cancelled&) {
    error_met = Error(ExitStatus::io_error, "the save was given up");
  } catch (const std::exception& error) {
    error_met = explain(error);
  }
  {
    const std::lock_guard lock(mutex);
    finished = !error_met;
    failure = std::move(error_met);
  }
  changed.notify_all();
}

void CheckpointWriter::Implementation::write_file() {
  stop_if_cancelled();
  create_folder(folder());
  const fs::path temporary = temporary_file();
  require_file_size(data_bytes(), temporary);
  Hdf5Image structure;
  const RankFileLayout layout = create_rank_file(structure, temporary, info, rank, pieces);
  FileDescriptor out = structure.save_as(temporary);
  // Takes the space now, so that a full disk is found before the first byte; file systems that
  // cannot do it say so.
  if (const std::uint64_t bytes = out.size();
      ::fallocate(out.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO)) {
    fail_io(fmt::format("reserve {} for", human_bytes(static_cast<double>(bytes))), temporary,
            errno);
  }

  PieceChecksums checksums(pieces.size());
  fetched.clear();
  while (const auto next = take_next_piece()) {
    const CheckpointPiece& piece = pieces[*next];
    Sources sources = {piece.master, piece.exp_avg, piece.exp_avg_sq};
    // The copy is not touched by anyone else once its state is `copied`.
    if (const float* copy = slots[*next].copy.get(); copy != nullptr) {
      for (std::size_t field = 0; field < kNumFields; ++field) {
        sources[field] = copy + static_cast<std::int64_t>(field) * piece.rectangle.size();
      }
    }
    const bool in_host_memory = !fetch || slots[*next].copy;
    write_piece(out, *next, sources, in_host_memory, layout.fields[*next], checksums[*next]);
  }
  if (!checksums.empty()) {
    out.write_at(checksums.data(), checksums.size() * sizeof(checksums[0]), layout.checksums);
  }
  stop_if_cancelled();
  out.flush();
  rename_path(temporary, file());
  flush_folder(folder());
}

/// The first piece that can be written, now `writing`; nothing when all are written. Waits while
/// all that is left is being copied.
std::optional<std::size_t> CheckpointWriter::Implementation::take_next_piece() {
  std::unique_lock lock(mutex);
  for (;;) {
    if (cancelled) throw Cancelled();
    bool all_written = true;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      PieceState& state = slots[i].state;
      if (state == PieceState::waiting || state == PieceState::copied) {
        state = PieceState::writing;
        return i;
      }
      all_written = all_written && state == PieceState::written;
    }
    if (all_written) return std::nullopt;
    changed.wait(lock);
  }
}

void CheckpointWriter::Implementation::write_piece(
    FileDescriptor& out, std::size_t index, const Sources& sources, bool in_host_memory,
    const std::array<std::uint64_t, kNumFields>& offsets,
    std::array<std::uint64_t, kNumFields>& checksums) {
  const auto elements = static_cast<std::size_t>(pieces[index].rectangle.size());
  for (std::size_t field = 0; field < kNumFields; ++field) {
    const float* values = sources[field];
    if (!in_host_memory) {
      stop_if_cancelled();
      if (fetched.size() < elements) fetched.resize(elements);
      fetch(fetched.data(), values, pieces[index].rectangle.size());
      values = fetched.data();
    }
    const auto bytes = std::as_bytes(std::span(values, elements));
    checksums[field] = hash_bytes(bytes);
    for (std::uint64_t done = 0; done < bytes.size(); done += kChunkBytes) {
      stop_if_cancelled();
      const std::uint64_t part = std::min<std::uint64_t>(kChunkBytes, bytes.size() - done);
      out.write_at(bytes.data() + done, part, offsets[field] + done);
      // Starts the transfer to the disk now, so that the flush at the end finds little to do.
      ::sync_file_range(out.get(), static_cast<off_t>(offsets[field] + done),
                        static_cast<off_t>(part), SYNC_FILE_RANGE_WRITE);
    }
  }
  std::unique_ptr<float[]> done_with;
  {
    const std::lock_guard lock(mutex);
    slots[index].state = PieceState::written;
    done_with = std::move(slots[index].copy);
  }
  changed.notify_all();
}

void CheckpointWriter::Implementation::stop_if_cancelled() {
  const std::lock_guard lock(mutex);
  if (cancelled) throw Cancelled();
}

}  // namespace espalier::io
