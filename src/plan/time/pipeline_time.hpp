#pragma once
#include <memory>

#include "parallel/schedule/simulation.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// A step of a pipeline: its schedule with the times of the stages, and what it takes.
struct PipelineTime {
  pipeline::Schedule schedule;
  pipeline::Durations durations;  ///< s, of every stage's passes, exposed communication included
  /// Of the passes of a step, or, of many micro-batches, of the first few rounds of them.
  pipeline::Simulation simulation;
  double passes = 0.0;  ///< s, of all of them, until the last rank is done
  double bubble = 0.0;  ///< share of the ranks' time in which they are idle meanwhile
  /// Of the busiest rank; `bubble` is all that it waits. What comes behind the passes (sums of
  /// gradients, update, norm) is that of the rank that has most of it.
  StepTime step;
};

/// Of resolved parameters with parallel.pipeline > 1. Every stage's forward pass, gradients of its
/// input and gradients of its weights are counted (count_rank, or stage_counts.hpp where blocks are
/// alike) and take what time_of says; the schedule is simulated with these and with messages of
/// message_seconds, on a host those of memory copies. Throws Error as predict_step does.
PipelineTime pipeline_time(const config::Parameters& parameters,
                           const config::HardwareParameters& hardware);

/// The times of the steps of many layouts of one run, the same as predict_step's. What layouts have
/// in common is counted once: blocks, and the programs of schedules.
class StepTimes {
 public:
  /// `hardware` must outlive it.
  explicit StepTimes(const config::HardwareParameters& hardware);
  ~StepTimes();
  StepTimes(const StepTimes&) = delete;
  StepTimes& operator=(const StepTimes&) = delete;
  /// Of resolved parameters of one run: calls differ in nothing but what a layout decides.
  StepTime of(const config::Parameters& parameters);
  /// What a step takes at least, whatever its ranks wait for each other beside what the first
  /// micro-batch needs to come to them: of parameters with a pipeline.
  double at_least(const config::Parameters& parameters);

 private:
  class Pipelines;
  friend PipelineTime pipeline_time(const config::Parameters&, const config::HardwareParameters&);
  std::unique_ptr<Pipelines> pipelines_;
  const config::HardwareParameters& hardware_;
};

}  // namespace espalier::plan
