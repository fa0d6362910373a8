#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/sample_order.hpp"
#include "data/token_stream.hpp"

namespace espalier::data {

/// From which source global sample number g comes: a fixed schedule of kBlock samples, repeated.
/// In a block every source has its share (weights rounded to 1/kBlock by largest remainders),
/// spread as evenly as it can be: after any n samples a source is within one sample of its share
/// for two sources, within a few for more. A pure function of g: the same on every grid and after
/// a restart.
class SourceMix {
 public:
  static constexpr std::uint64_t kBlock = 10'000;
  /// Weights above zero, in any unit. Throws Error (bad_configuration, met by every rank) for one
  /// whose share is below half of 1/kBlock.
  explicit SourceMix(std::span<const double> weights);

  struct Place {
    std::size_t source;
    std::uint64_t index;  ///< how many samples of the source came before
  };
  Place place(std::uint64_t global_index) const;
  /// Samples of `source` among the first `num_samples` of the run.
  std::uint64_t count(std::size_t source, std::uint64_t num_samples) const;
  /// The global number of sample number `index` of `source`.
  std::uint64_t global_index(std::size_t source, std::uint64_t index) const;
  double share(std::size_t source) const;

 private:
  struct Slot {
    std::uint32_t source, ordinal;
  };
  std::vector<Slot> slots_;                           ///< of one block
  std::vector<std::vector<std::uint32_t>> slots_of_;  ///< per source: its places in the block
};

/// A data set as a run goes through it: all its samples in one order, then again in another.
struct Source {
  const TokenStream* stream;
  std::uint64_t num_samples;
  SampleOrder order;
};

/// Which sample of which source is global sample number g of the run.
class Sources {
 public:
  Sources(std::vector<Source> sources, SourceMix mix);

  struct Sample {
    const TokenStream* stream;
    std::uint64_t index;  ///< of the stream
  };
  Sample sample(std::uint64_t global_index) const;
  /// Samples before the first that was seen already: what can be had without repeating any.
  std::uint64_t samples_without_repeat() const;
  /// Samples of source `i` among the first `num_samples` of the run, and in epochs of it.
  std::uint64_t count(std::size_t i, std::uint64_t num_samples) const {
    return mix_.count(i, num_samples);
  }
  double epochs(std::size_t i, std::uint64_t num_samples) const;
  double share(std::size_t i) const { return mix_.share(i); }

 private:
  std::vector<Source> sources_;
  SourceMix mix_;
};

}  // namespace espalier::data
