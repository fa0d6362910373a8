#include "parallel/schedule/picture.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace espalier::pipeline {
namespace {

/// A stretch of time with one letter.
struct Cells {
  std::size_t first, last;  ///< up to and without `last`
  std::string label;
};

class Drawing {
 public:
  Drawing(const Schedule& schedule, const Simulation& simulation, const PictureOptions& options)
      : schedule_(schedule), simulation_(simulation), options_(options) {
    const Action longest{ActionKind::forward, 0, schedule.micro_batches - 1};
    label_ = cell_label('F', schedule.placement, longest).size();
    // A cell is as narrow as the label of the shortest action allows.
    std::size_t shortest = label_;
    for (const RankSimulation& rank : simulation.ranks)
      for (const TimedAction& a : rank.actions)
        each_part(a, [&](const Cells& cells) {
          shortest = std::min(shortest, std::max<std::size_t>(1, cells.last - cells.first));
        });
    cell_ = (label_ + shortest - 1) / shortest;
    name_ = fmt::format("rank {}", schedule.placement.ranks - 1).size();
  }

  std::string draw() const {
    const std::size_t columns = cell_of(simulation_.makespan);
    if (columns == 0) return {};
    const std::size_t room = static_cast<std::size_t>(options_.columns) - name_ - 3;
    const std::size_t per_block = std::max<std::size_t>(1, room / cell_);
    const std::size_t blocks = (columns + per_block - 1) / per_block;
    const auto most = static_cast<std::size_t>(std::max(1, options_.blocks));
    std::string text;
    std::vector<std::string> lines;
    for (const RankSimulation& rank : simulation_.ranks) lines.push_back(line_of(rank, columns));
    for (std::size_t block = 0; block < blocks; ++block) {
      if (blocks > most && block == (most + 1) / 2) {
        const std::size_t next = blocks - most / 2;
        text += fmt::format("... from {:.6g} to {:.6g} it goes on\n", time_of(block * per_block),
                            time_of(next * per_block));
        block = next;
        if (block >= blocks) break;
      }
      text += fmt::format("time {:.6g}\n", time_of(block * per_block));
      for (std::size_t rank = 0; rank < lines.size(); ++rank)
        text += fmt::format("{:<{}} |{}|\n", fmt::format("rank {}", rank), name_,
                            lines[rank].substr(block * per_block * cell_, per_block * cell_));
    }
    return text;
  }

 private:
  std::size_t cell_of(double time) const {
    return static_cast<std::size_t>(std::llround(time / options_.unit));
  }
  double time_of(std::size_t cell) const { return static_cast<double>(cell) * options_.unit; }

  template <class Body>
  void each_part(const TimedAction& a, Body&& body) const {
    const auto part = [&](char letter, double begin, double end) {
      if (cell_of(end) > cell_of(begin))
        body(
            Cells{cell_of(begin), cell_of(end), cell_label(letter, schedule_.placement, a.action)});
    };
    if (is_forward(a.action)) return part('F', a.begin, a.end);
    part('B', a.begin, a.weights_begin);
    part('W', a.weights_begin, a.end);
  }

  std::string line_of(const RankSimulation& rank, std::size_t columns) const {
    std::string line;
    for (std::size_t i = 0; i < columns; ++i) line += std::string(cell_ - 1, ' ') + '.';
    for (const TimedAction& a : rank.actions)
      each_part(a, [&](const Cells& cells) {
        const std::size_t width = (cells.last - cells.first) * cell_;
        std::string words = cells.label;
        words.resize(std::max(words.size(), label_), ' ');
        words.resize(width, '-');
        line.replace(cells.first * cell_, width, words);
      });
    return line;
  }

  const Schedule& schedule_;
  const Simulation& simulation_;
  const PictureOptions& options_;
  std::size_t label_, cell_ = 1, name_ = 0;  ///< widths in characters
};

}  // namespace

std::string cell_label(char letter, const Placement& placement, const Action& action) {
  const int chunk = placement.chunk_of(action.stage);
  if (placement.chunks == 2 && chunk == 1) letter = static_cast<char>(letter - 'A' + 'a');
  std::string label = fmt::format("{}{}", letter, action.micro_batch);
  if (placement.chunks > 2) label += chunk < 26 ? static_cast<char>('a' + chunk) : '?';
  return label;
}

std::string picture_legend(const Placement& placement) {
  std::string text =
      "F forward, B gradients of inputs, W gradients of weights, with the micro-batch; . idle";
  if (placement.chunks == 2) text += "\nsmall letters: the second chunk of the rank";
  if (placement.chunks > 2) text += "\na, b, c, ...: the first, second, third chunk of the rank";
  return text;
}

std::string picture(const Schedule& schedule, const Simulation& simulation,
                    const PictureOptions& options) {
  ESPALIER_ASSERT(options.unit > 0.0 && options.columns >= 40, "a cell of {}, {} columns",
                  options.unit, options.columns);
  return Drawing(schedule, simulation, options).draw();
}

}  // namespace espalier::pipeline
