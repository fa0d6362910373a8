#include "train/watchdog_socket.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <sstream>

namespace espalier::train {

WatchdogSocket::WatchdogSocket() {
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) return;
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof own;
  if (::bind(socket_, reinterpret_cast<const sockaddr*>(&own), sizeof own) == 0 &&
      ::getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &size) == 0) {
    port_ = own.sin_port;
    return;
  }
  ::close(socket_);
  socket_ = -1;
}

WatchdogSocket::~WatchdogSocket() {
  if (socket_ >= 0) ::close(socket_);
  if (wake_ >= 0) ::close(wake_);
}

std::string WatchdogSocket::addresses() const {
  if (!is_open()) return {};
  std::string outer, own;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0) continue;
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    std::array<char, INET_ADDRSTRLEN> text{};
    if (::inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size()) == nullptr) continue;
    const bool is_own = (one->ifa_flags & IFF_LOOPBACK) != 0;
    (is_own ? own : outer) += fmt::format("{}:{} ", text.data(), ntohs(port_));
  }
  ::freeifaddrs(all);
  return outer + own;
}

std::vector<sockaddr_in> WatchdogSocket::parse(const std::string& addresses) {
  std::vector<sockaddr_in> result;
  std::istringstream words(addresses);
  for (std::string word; words >> word;) {
    const auto colon = word.find(':');
    if (colon == std::string::npos) continue;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    std::uint16_t port = 0;
    std::from_chars(word.data() + colon + 1, word.data() + word.size(), port);
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, word.substr(0, colon).c_str(), &address.sin_addr) == 1)
      result.push_back(address);
  }
  return result;
}

void WatchdogSocket::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
}

void WatchdogSocket::send(const void* data, std::size_t bytes, const sockaddr_in& to) {
  if (!is_open()) return;
  [[maybe_unused]] const auto sent = ::sendto(socket_, data, bytes, MSG_NOSIGNAL,
                                              reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

std::optional<sockaddr_in> WatchdogSocket::receive(void* data, std::size_t bytes, double wait_s) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(wait_s);
  for (;;) {
    const double left_s = std::chrono::duration<double>(end - Clock::now()).count();
    // Without a socket only the waiting is left.
    std::array<pollfd, 2> wanted{{{.fd = socket_, .events = POLLIN, .revents = 0},
                                  {.fd = wake_, .events = POLLIN, .revents = 0}}};
    ::poll(wanted.data(), wanted.size(), left_s > 0.0 ? static_cast<int>(left_s * 1e3) + 1 : 0);
    if (wanted[1].revents != 0) return std::nullopt;
    if (wanted[0].revents != 0) {
      sockaddr_in from{};
      socklen_t size = sizeof from;
      // Another size is somebody else's; an error is that of an earlier datagram.
      const ssize_t got =
          ::recvfrom(socket_, data, bytes, MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &size);
      if (got == static_cast<ssize_t>(bytes)) return from;
    }
    if (left_s <= 0.0) return std::nullopt;
  }
}

}  // namespace espalier::train
