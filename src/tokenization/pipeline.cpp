#include "tokenization/pipeline.hpp"

#include <chrono>

namespace espalier::tokenization {

TokenizePipeline::TokenizePipeline(const tokenizer::Tokenizer& tokenizer,
                                   train::DocumentMarks marks, const io::CorpusManifest& manifest,
                                   const config::TokenizeParameters& how, int num_threads)
    : tokenizer_(tokenizer),
      marks_(std::move(marks)),
      manifest_(manifest),
      how_(how),
      num_threads_(static_cast<std::size_t>(num_threads)) {
  for (std::size_t i = 0; i < num_threads_; ++i) threads_.emplace_back([this] { work(); });
}

TokenizePipeline::~TokenizePipeline() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  for_workers_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool TokenizePipeline::wants_unit() const {
  const std::lock_guard lock(mutex_);
  return reader_ == nullptr && !no_more_units_;
}

void TokenizePipeline::give(std::optional<std::size_t> unit) {
  {
    const std::lock_guard lock(mutex_);
    if (unit)
      reader_ = std::make_unique<UnitReader>(manifest_, *unit, how_);
    else
      no_more_units_ = true;
  }
  for_workers_.notify_all();
}

bool TokenizePipeline::is_done() const {
  const std::lock_guard lock(mutex_);
  return no_more_units_ && !reading_ && num_taken_ == num_read_ && read_error_ == nullptr;
}

std::unique_ptr<DocumentBatch> TokenizePipeline::take(double seconds) {
  std::unique_lock lock(mutex_);
  const auto is_there = [&] {
    return error_ != nullptr || (!encoded_.empty() && encoded_.begin()->first == num_taken_);
  };
  const auto has_failed = [&] { return read_error_ != nullptr && num_taken_ == num_read_; };
  // A wish for a unit ends the waiting, too.
  for_writer_.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
    return is_there() || has_failed() || (reader_ == nullptr && !no_more_units_);
  });
  if (error_ != nullptr) std::rethrow_exception(error_);
  if (has_failed()) std::rethrow_exception(read_error_);
  if (!is_there()) return nullptr;
  Batch batch = std::move(encoded_.begin()->second);
  encoded_.erase(encoded_.begin());
  ++num_taken_;
  bytes_held_ -= batch->text.size();
  lock.unlock();
  for_workers_.notify_all();
  return batch;
}

bool TokenizePipeline::can_read() const {
  return reader_ != nullptr && !reading_ && read_.size() < num_threads_ &&
         bytes_held_ < (num_threads_ + 1) * kBatchesPerThread * UnitReader::kBatchBytes;
}

void TokenizePipeline::work() {
  const auto scratch = tokenizer_.make_scratch();
  std::unique_lock lock(mutex_);
  try {
    for (;;) {
      if (stopped_) return;
      if (can_read())
        read(lock);
      else if (!read_.empty())
        encode(lock, *scratch);
      else if (no_more_units_ && !reading_)
        return;
      else
        for_workers_.wait(lock);
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    if (error_ == nullptr) error_ = std::current_exception();
    stopped_ = true;
    lock.unlock();
    for_writer_.notify_all();
    for_workers_.notify_all();
  }
}

void TokenizePipeline::read(std::unique_lock<std::mutex>& lock) {
  reading_ = true;
  UnitReader& reader = *reader_;
  lock.unlock();
  auto batch = std::make_unique<DocumentBatch>();
  std::exception_ptr error;
  try {
    reader.fill(*batch);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  reading_ = false;
  if (error != nullptr) {  // what was read before is still encoded: units may be whole
    read_error_ = error;
    no_more_units_ = true;
    reader_.reset();
    for_workers_.notify_all();
    for_writer_.notify_all();
    return;
  }
  bytes_held_ += batch->text.size();
  if (batch->ends_unit) reader_.reset();
  read_.emplace_back(num_read_++, std::move(batch));
  for_workers_.notify_all();
  for_writer_.notify_all();
}

void TokenizePipeline::encode(std::unique_lock<std::mutex>& lock,
                              tokenizer::Tokenizer::Scratch& scratch) {
  auto [number, batch] = std::move(read_.front());
  read_.pop_front();
  lock.unlock();
  for_workers_.notify_one();  // there may be room to read
  batch->ids.reserve(batch->text.size() / 3 + 2 * batch->documents.size());
  for (std::size_t d = 0; d < batch->documents.size(); ++d) {
    batch->ids.insert(batch->ids.end(), marks_.begin.begin(), marks_.begin.end());
    tokenizer_.encode(batch->text_of(d), batch->ids, scratch);
    batch->ids.push_back(*marks_.separator);
    batch->documents[d].id_end = batch->ids.size();
  }
  lock.lock();
  encoded_.emplace(number, std::move(batch));
  for_writer_.notify_all();
}

}  // namespace espalier::tokenization
