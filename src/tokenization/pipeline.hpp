#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "tokenization/input.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::tokenization {

/// Reads and encodes units on threads of its own, and hands out their documents in order. A thread
/// reads the next batch when nobody else does and few are waiting, and else encodes one: with
/// several threads everything overlaps, with one it goes in turn, and none is idle while there is
/// work.
///
/// Memory: at most kBatchesPerThread batches of UnitReader::kBatchBytes (1 MB) per thread, and as
/// many more, are between reader and writer, as text and as ids, of which a token has four bytes;
/// when so much is there, reading waits. A document that is larger than that passes alone, in about
/// ten times its size.
class TokenizePipeline {
 public:
  static constexpr std::size_t kBatchesPerThread = 4;

  /// References must live longer. `marks` have a separator.
  TokenizePipeline(const tokenizer::Tokenizer& tokenizer, train::DocumentMarks marks,
                   const io::CorpusManifest& manifest, const config::TokenizeParameters& how,
                   int num_threads);
  ~TokenizePipeline();  ///< stops the threads, whatever they have not done
  TokenizePipeline(const TokenizePipeline&) = delete;
  TokenizePipeline& operator=(const TokenizePipeline&) = delete;

  /// Whether the reader waits for give().
  bool wants_unit() const;
  /// The unit that is read next; nothing: there is no other.
  void give(std::optional<std::size_t> unit);
  /// The next batch in the order of reading; null: none was there in `seconds`. Throws what reading
  /// threw, when everything before it was taken.
  std::unique_ptr<DocumentBatch> take(double seconds);
  /// Everything that was given was taken.
  bool is_done() const;

 private:
  using Batch = std::unique_ptr<DocumentBatch>;
  void work();
  bool can_read() const;
  void read(std::unique_lock<std::mutex>& lock);
  void encode(std::unique_lock<std::mutex>& lock, tokenizer::Tokenizer::Scratch& scratch);

  const tokenizer::Tokenizer& tokenizer_;
  const train::DocumentMarks marks_;
  const io::CorpusManifest& manifest_;
  const config::TokenizeParameters& how_;
  const std::size_t num_threads_;

  mutable std::mutex mutex_;  // of everything below
  std::condition_variable for_workers_, for_writer_;
  std::unique_ptr<UnitReader> reader_;
  bool reading_ = false, no_more_units_ = false, stopped_ = false;
  std::exception_ptr read_error_, error_;
  std::deque<std::pair<std::uint64_t, Batch>> read_;  // by number, in order
  std::map<std::uint64_t, Batch> encoded_;            // by number
  std::uint64_t num_read_ = 0, num_taken_ = 0;        // batches
  std::size_t bytes_held_ = 0;                        // of text, between reader and writer
  std::vector<std::thread> threads_;
};

}  // namespace espalier::tokenization
