#include "parallel/schedule/schedule.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/text.hpp"

namespace espalier::pipeline {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"gpipe", "1f1b", "interleaved", "zb-h1",
                                                    "zb1p",  "zb-v", "dualpipe-v"};

[[noreturn]] void fail_configuration(const std::string& message) {
  throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
}

bool has_one_chunk(ScheduleKind kind) {
  return kind == ScheduleKind::gpipe || kind == ScheduleKind::one_f_one_b ||
         kind == ScheduleKind::zb_h1;
}
/// "4", "4 or 8": the multiples of `unit` next to `number`.
std::string multiples_near(int number, int unit) {
  const int below = number / unit * unit;
  if (below == 0) return fmt::format("{}", unit);
  return fmt::format("{} or {}", below, below + unit);
}

}  // namespace

bool is_v_shaped(ScheduleKind kind) {
  return kind == ScheduleKind::zb_v || kind == ScheduleKind::dualpipe_v;
}

std::string_view letters_of(ActionKind kind) {
  constexpr std::array<std::string_view, 4> kLetters = {"F", "BW", "B", "W"};
  return kLetters[static_cast<std::size_t>(kind)];
}

std::string describe(const Action& action) {
  return fmt::format("{} of stage {}, micro-batch {}", letters_of(action.kind), action.stage,
                     action.micro_batch);
}

int Placement::rank_of(int stage) const {
  const int place = stage % ranks;
  return shape == Shape::v && chunk_of(stage) % 2 == 1 ? ranks - 1 - place : place;
}

int Placement::stage_of(int rank, int chunk) const {
  return chunk * ranks + (shape == Shape::v && chunk % 2 == 1 ? ranks - 1 - rank : rank);
}

std::span<const std::string_view> schedule_names() {
  return kNames;
}

std::string_view name_of(ScheduleKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

ScheduleKind schedule_from_name(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found != kNames.end()) return static_cast<ScheduleKind>(found - kNames.begin());
  std::vector<std::string> names(kNames.begin(), kNames.end());
  const std::string near = nearest_name(name, names);
  std::string list;
  for (const std::string& each : names) list += (list.empty() ? "" : ", ") + each;
  fail_configuration(fmt::format("there is no pipeline schedule \"{}\"{}; there are {}", name,
                                 near.empty() ? "" : fmt::format(" (did you mean {}?)", near),
                                 list));
}

int default_chunks(ScheduleKind kind) {
  return has_one_chunk(kind) ? 1 : 2;
}

Misfit misfit_of(ScheduleKind kind, const PipelineShape& shape) {
  ESPALIER_ASSERT(shape.ranks >= 1 && shape.micro_batches >= 1 && shape.chunks >= 1,
                  "{} ranks, {} micro-batches, {} chunks", shape.ranks, shape.micro_batches,
                  shape.chunks);
  const std::string_view name = name_of(kind);
  Misfit misfit;
  if (has_one_chunk(kind) && shape.chunks != 1)
    misfit.chunks = fmt::format("{} has 1 chunk per rank, not {} (interleaved and zb1p take more)",
                                name, shape.chunks);
  else if (is_v_shaped(kind) && shape.chunks != 2)
    misfit.chunks = fmt::format("{} has 2 chunks per rank, not {} (interleaved and zb1p take any)",
                                name, shape.chunks);
  else if (kind == ScheduleKind::interleaved && shape.chunks == 1)
    misfit.chunks = "interleaved has at least 2 chunks per rank (with 1 it would be 1f1b)";

  const int m = shape.micro_batches, p = shape.ranks;
  const bool goes_in_rounds =
      kind == ScheduleKind::interleaved || (kind == ScheduleKind::zb1p && shape.chunks > 1);
  if (goes_in_rounds && m % p != 0)
    misfit.micro_batches =
        fmt::format("{} on {} ranks needs a multiple of {} micro-batches, not {}: {} would fit",
                    name, p, p, m, multiples_near(m, p));
  else if (kind == ScheduleKind::dualpipe_v && m < 2 * p)
    misfit.micro_batches =
        fmt::format("{} on {} ranks needs at least {} micro-batches (twice the ranks), not {}",
                    name, p, 2 * p, m);
  return misfit;
}

}  // namespace espalier::pipeline
