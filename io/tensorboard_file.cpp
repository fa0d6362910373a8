#include "io/tensorboard_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "io/lock_holder.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::uint32_t, 256> crc_table() {
  constexpr std::uint32_t kReversedPolynomial = 0x82F63B78U;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) ? kReversedPolynomial : 0U);
    table[byte] = crc;
  }
  return table;
}

// Numbers of fields in event.proto and summary.proto.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr int kSummaryValue = 1, kTag = 1, kSimpleValue = 2;
constexpr int kStatus = 1, kStart = 1;
// Wire types of protobuf.
constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_key(std::string& out, int field, int wire_type) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire_type));
}
/// Little-endian, as TFRecord and protobuf have them.
template <class Number>
void put_fixed(std::string& out, Number value) {
  static_assert(std::endian::native == std::endian::little);
  std::array<char, sizeof value> bytes{};
  std::memcpy(bytes.data(), &value, sizeof value);
  out.append(bytes.data(), bytes.size());
}
void put_text(std::string& out, int field, std::string_view text) {
  put_key(out, field, kBytes);
  put_varint(out, text.size());
  out += text;
}

std::string event_at(double time_s, std::int64_t step) {
  std::string event;
  put_key(event, kWallTime, kFixed64);
  put_fixed(event, time_s);
  put_key(event, kStep, kVarint);
  put_varint(event, static_cast<std::uint64_t>(step));
  return event;
}

/// Of TFRecord: a CRC of data that hold CRCs is weak, so that those that are kept are changed.
std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// A new file; with O_APPEND no writer overwrites another one's records.
FileDescriptor new_file(const fs::path& folder, std::int64_t job) {
  create_folder(folder);
  // TensorBoard reads the files of a folder in the order of their names: by job, whatever the
  // clocks of the hosts say.
  const LockHolder self = LockHolder::this_process();
  return {folder / fmt::format("events.out.tfevents.{:010}.{}.{}", job, self.host, self.pid),
          O_WRONLY | O_CREAT | O_TRUNC};
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU];
  return crc ^ 0xFFFFFFFFU;
}

TensorboardFile::TensorboardFile(const fs::path& folder, std::int64_t job, std::int64_t next_step)
    : file_(new_file(folder, job)) {
  std::string version = event_at(now_s(), 0);
  put_text(version, kFileVersion, "brain.Event:2");
  append(version);
  start_from(next_step);
}

void TensorboardFile::start_from(std::int64_t next_step) {
  std::string start = event_at(now_s(), next_step), log;
  put_key(log, kStatus, kVarint);
  put_varint(log, kStart);
  put_text(start, kSessionLog, log);
  append(start);
}

void TensorboardFile::add(std::int64_t step, double time_s,
                          const std::vector<TensorboardScalar>& scalars) {
  std::string summary;
  for (const TensorboardScalar& scalar : scalars) {
    std::string value;
    put_text(value, kTag, scalar.tag);
    put_key(value, kSimpleValue, kFixed32);
    put_fixed(value, scalar.value);
    put_text(summary, kSummaryValue, value);
  }
  std::string event = event_at(time_s, step);
  put_text(event, kSummary, summary);
  append(event);
}

void TensorboardFile::append(std::string_view event) {
  std::string record;
  put_fixed(record, static_cast<std::uint64_t>(event.size()));
  put_fixed(record, masked_crc(record));
  record += event;
  put_fixed(record, masked_crc(event));
  file_.write_at(record.data(), record.size(), size_);
  size_ += record.size();
}

}  // namespace espalier::io
