#pragma once
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espalier::train {

/// One UDP socket over IPv4. Datagrams may get lost, and so may errors: nothing here throws.
class WatchdogSocket {
 public:
  WatchdogSocket();  ///< bound to any free port of all addresses of this host
  ~WatchdogSocket();
  WatchdogSocket(const WatchdogSocket&) = delete;
  WatchdogSocket& operator=(const WatchdogSocket&) = delete;
  bool is_open() const { return socket_ >= 0; }
  /// "10.1.2.3:40123 127.0.0.1:40123": where others may reach it; this host's own address last.
  std::string addresses() const;
  static std::vector<sockaddr_in> parse(const std::string& addresses);

  /// Ends a receive that waits in another thread, and those to come.
  void wake();
  void send(const void* data, std::size_t bytes, const sockaddr_in& to);
  /// The next datagram of exactly `bytes`, from whom; waits at most so long; nothing: none came.
  std::optional<sockaddr_in> receive(void* data, std::size_t bytes, double wait_s);

 private:
  int socket_ = -1;
  int wake_ = -1;
  std::uint16_t port_ = 0;  ///< as the network has it
};

}  // namespace espalier::train
