#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/token_shard.hpp"
#include "tokenization/input.hpp"
#include "tokenization/unfinished_folder.hpp"

namespace espalier::tokenization {

/// The place of the shards of one tokenization, on rank 0. They are collected in the folder
/// <output>.unfinished beside the output, which takes the output's name when all are there: a
/// training never takes a half data set for a whole one. In the folder:
///   manifest.json           what is to be done
///   train-00012.h5 ...      shards of finished units; of a source in a folder of its name
///   units/unit-00012.done   the counts of unit 12, written when its shards are in place
///   units/unit-00012.part/  shards of a unit that is not done
class OutputFolder {
 public:
  /// Throws as UnfinishedFolder.
  explicit OutputFolder(const std::filesystem::path& output);
  /// Takes up what an earlier job has left, and removes what that has not finished. Returns the
  /// units that are done, by number. `goes_on`: false where an input cannot be read twice; then
  /// nothing is taken up or left. Throws Error (bad_configuration) when finished units are there
  /// and they are of another manifest.
  std::vector<bool> take_up(const io::CorpusManifest& manifest, bool goes_on);
  /// Without publish(): leaves finished units, if there are some, and removes everything else.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  /// Throws Error (io_error) when another job has taken the lock.
  void require_held() const { folder_.require_held(); }
  /// Leaves nothing, whatever is done: the input is of no use.
  void discard() { keeps_ = false; }
  /// The counts of all units that are done, together.
  io::CorpusCounts counts() const;
  /// When every unit is done: puts the report beside the shards and gives the folder its name.
  void publish(const std::string& report);

 private:
  UnfinishedFolder folder_;
  bool keeps_ = true, is_published_ = false;
};

/// The shards of one unit, on the rank that has taken it.
class UnitWriter {
 public:
  /// More sources in one unit are an Error: each has files of its own open, and 1 MiB of buffer.
  static constexpr std::size_t kMostSources = 300;

  /// `info`: of the tokenizer. `output`: as of OutputFolder. A shard of more than twice
  /// `shard_tokens` goes on in another file: a large file that cannot be cut is one unit.
  UnitWriter(const std::filesystem::path& output, std::size_t unit, io::ShardInfo info,
             std::uint64_t shard_tokens);
  ~UnitWriter();  ///< without finish(): removes the shards
  UnitWriter(const UnitWriter&) = delete;
  UnitWriter& operator=(const UnitWriter&) = delete;

  std::size_t unit() const { return unit_; }
  /// Documents in order; throws Error (io_error) when the disk is full.
  void append(const DocumentBatch& batch);
  /// Puts the shards in place, and then the mark that the unit is done, with `counts` and those of
  /// the sources. May run on another thread.
  void finish(io::CorpusCounts counts);

 private:
  struct Shards {
    std::unique_ptr<io::TokenShardWriter> writer;
    std::size_t num_files = 0;
  };
  using Key = std::pair<std::string, io::Split>;  // of a source
  std::filesystem::path part_of(const Key& key, std::size_t file) const;
  void append(const Key& key, std::span<const std::uint32_t> ids, std::uint64_t num_bytes);

  std::filesystem::path folder_, parts_;
  std::size_t unit_;
  io::ShardInfo info_;
  std::uint64_t shard_tokens_;
  std::map<Key, Shards> shards_;
  io::CorpusCounts counts_;
};

}  // namespace espalier::tokenization
