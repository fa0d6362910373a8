#pragma once
#include <vector>

#include "parallel/schedule/schedule.hpp"

// From the list of what a rank computes to the list of what it does: the messages between, the
// buffers that they use, and the slots in which a stage keeps what its backward needs.

namespace espalier::pipeline {

enum class StepKind : std::uint8_t {
  post_receive,  ///< from here on the message may arrive in its buffer
  wait_receive,  ///< it has arrived
  compute,
  post_send,  ///< the result may be read out of its buffer
  wait_send,  ///< it has been read
};

/// One thing that a rank does. A message is named by what takes it in: {forward, stage,
/// micro-batch} is the residual stream that the stage begins with, {backward_inputs, ...} the
/// gradient of what it ends with (also where the backward is whole). Both ends know it by that
/// name, which serves as a tag (MPI). Between two ranks and of one direction and chunk, messages
/// are posted in the same order at both ends, so that one communicator for each of these needs no
/// tags (NCCL).
struct Step {
  StepKind kind = StepKind::compute;
  Action action;    ///< what is computed, or the name of the message
  int peer = -1;    ///< of a message: the rank along the pipeline; -1 of compute
  int buffer = -1;  ///< of a message, among the buffers of its end, direction and chunk

  // Of compute; -1: none.
  int slot = -1;         ///< activations, from F to the end of W or of a whole backward
  int weight_slot = -1;  ///< what W needs from B, from B to W
  int input = -1;        ///< a received buffer, or one of `local_buffers`: see input_is_local
  int output = -1;       ///< a buffer to be sent, or one of `local_buffers`
  bool input_is_local = false, output_is_local = false;
  friend bool operator==(const Step&, const Step&) = default;
};

/// How many of everything a rank has. Slots are numbered over all of its chunks: each is as large
/// as its largest chunk needs. A received buffer is free when the action that takes it in is done,
/// a sent one when wait_send says so.
struct Buffers {
  int slots = 0;         ///< of activations
  int weight_slots = 0;  ///< of gradients that W needs
  int received = 0;      ///< of messages, over directions and chunks
  int sent = 0;
  int local = 0;  ///< between two stages of the rank: the turn of a V, or p = 1
};

struct RankProgram {
  std::vector<Step> steps;
  Buffers buffers;
  int num_messages = 0;  ///< sent by this rank
};

struct Program {
  Placement placement;
  int micro_batches = 1;
  std::vector<RankProgram> ranks;
};

struct Links {
  /// Buffers at each end of a link, of each direction and chunk: one more than may be under way
  /// while the rank computes. A receive is posted when a buffer is free and the message needs
  /// nothing more of this rank (needs.hpp): sooner it cannot come, and on a GPU a receive is a
  /// kernel that waits, which must not stand in the way of what it waits for. 0: two, with which no
  /// rank waits longer than with any number; but (p + 1) / 2 between the first and the last rank in
  /// zb1p, where the last rank, which puts off its W, is that far ahead.
  int buffers = 0;
  /// Receives are posted as soon as a buffer is free. Cheaper to work out, since other ranks' lists
  /// are not read: for plans, which need buffers and times and not where receives are posted.
  bool early = false;
  /// Each message is waited for where it is posted, as blocking sends and receives do: all
  /// schedules but gpipe then come to a standstill, and this is here to show it.
  bool blocking = false;
};

/// Of a schedule without mistakes (mistakes_of).
Program lower(const Schedule& schedule, const Links& links = {});
/// The same of one rank.
RankProgram lower_rank(const Schedule& schedule, int rank, const Links& links = {});

}  // namespace espalier::pipeline
