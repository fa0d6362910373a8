#include "parallel/pipeline_link.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.hpp"

namespace espalier::parallel {

using pipeline::Action;

std::string describe_message(const Action& message, const pipeline::Placement& placement) {
  std::string text = fmt::format("the {} of micro-batch {}",
                                 pipeline::is_forward(message) ? "residual stream" : "gradient",
                                 message.micro_batch);
  if (placement.chunks > 1) text += fmt::format(" for stage {}", message.stage);
  return text;
}

namespace {

void begin(std::vector<Action>& under_way, const Action& message, const char* what) {
  ESPALIER_ASSERT(std::find(under_way.begin(), under_way.end(), message) == under_way.end(),
                  "{} of {} is posted twice", what, pipeline::describe(message));
  under_way.push_back(message);
}

void end(std::vector<Action>& under_way, const Action& message, const char* what) {
  const auto found = std::find(under_way.begin(), under_way.end(), message);
  ESPALIER_ASSERT(found != under_way.end(), "{} of {} is waited for and not posted", what,
                  pipeline::describe(message));
  under_way.erase(found);
}

}  // namespace

void CountingLink::post_receive(const Action& message, int peer, device::View buffer) {
  begin(receives_, message, "a receive");
  LinkCost& cost = received_[{pipeline::is_forward(message), peer}];
  cost.messages += 1;
  cost.bytes += buffer.size_bytes();
  if (inner_) inner_->post_receive(message, peer, buffer);
}

void CountingLink::wait_receive(const Action& message) {
  end(receives_, message, "a receive");
  if (inner_) inner_->wait_receive(message);
}

void CountingLink::post_send(const Action& message, int peer, device::ConstView buffer) {
  begin(sends_, message, "a send");
  LinkCost& cost = sent_[{pipeline::is_forward(message), peer}];
  cost.messages += 1;
  cost.bytes += buffer.size_bytes();
  if (inner_) inner_->post_send(message, peer, buffer);
}

void CountingLink::wait_send(const Action& message) {
  end(sends_, message, "a send");
  if (inner_) inner_->wait_send(message);
}

void CountingLink::progress() {
  if (inner_) inner_->progress();
}

std::int64_t CountingLink::bytes_sent() const {
  if (inner_) return inner_->bytes_sent();
  std::int64_t bytes = 0;
  for (const auto& [link, cost] : sent_) bytes += cost.bytes;
  return bytes;
}

}  // namespace espalier::parallel
