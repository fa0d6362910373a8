// The emulation itself: kernels of a few lines, right ones and ones with a mistake that it must
// name.
#include <numeric>

#include "emulation_support.hpp"

namespace espalier::kernels::emulated {
namespace {

constexpr int kThreads = 64;
constexpr LaunchShape kOneBlock{1, kThreads, shared_bytes<float>(kThreads)};

}  // namespace

TEST_CASE("threads, blocks and sums over them", "[emulation]") {
  std::vector<int> seen(3 * kThreads, 0);
  run({3, kThreads, shared_bytes<float>(kMaxWarps)}, [&] {
    seen[static_cast<std::size_t>(block_index() * num_threads() + thread_index())]++;
    SharedAllocator shared;
    const auto partials = shared.take<float>(kMaxWarps);
    const float one = static_cast<float>(thread_index());
    CHECK(group_sum(1.0f, 8) == 8.0f);
    CHECK(warp_sum(one) == static_cast<float>(496 + 1024 * warp()));
    CHECK(block_sum(one, partials) == 2016.0f);
    CHECK(shuffle_xor(static_cast<double>(lane()), 5) == static_cast<double>(lane() ^ 5));
  });
  CHECK(std::accumulate(seen.begin(), seen.end(), 0) == 3 * kThreads);
  CHECK(*std::min_element(seen.begin(), seen.end()) == 1);
}

TEST_CASE("the seed chooses the order of blocks and threads", "[emulation]") {
  const auto order_of = [](std::uint64_t seed) {
    settings().order_seed = seed;
    std::vector<int> order;
    run({4, 32}, [&] { order.push_back(static_cast<int>(block_index()) * 32 + thread_index()); });
    return order;
  };
  CHECK(order_of(1) == order_of(1));
  CHECK(order_of(1) != order_of(2));
  CHECK(order_of(1).size() == 128);
}

TEST_CASE("a rendezvous that cannot come about is an error that names the place", "[emulation]") {
  const std::string ended = error_of(kOneBlock, [] {
    if (thread_index() == 7) return;
    block_barrier();
  });
  CHECK(ended.find("63 of 64 threads wait at test_emulation.cpp:") != std::string::npos);
  CHECK(ended.find("rest of the block, 1 have ended") != std::string::npos);
  const std::string half_warp = error_of(kOneBlock, [] {
    if (lane() < 16) shuffle_xor(1.0f, 1);
  });
  CHECK(half_warp.find("16 of 32 threads wait at") != std::string::npos);
  CHECK(half_warp.find("rest of the warp") != std::string::npos);
  const std::string elsewhere = error_of(kOneBlock, [] {
    if (thread_index() < 32)
      block_barrier();
    else
      block_barrier();
  });
  CHECK(elsewhere.find("divergent rendezvous: thread") != std::string::npos);
  const std::string kinds = error_of(kOneBlock, [] {
    if (lane() == 0)
      block_barrier();
    else
      warp_barrier();
  });
  CHECK(kinds.find("divergent rendezvous") != std::string::npos);
}

TEST_CASE("races on shared memory are found in any order", "[emulation]") {
  for (std::uint64_t seed : {1, 2, 3, 4, 5}) {
    settings().order_seed = seed;
    // Neighbours: across warps only a barrier of the block orders them, within one also the warp's.
    const auto neighbour = [](int distance, auto meet) {
      return error_of(kOneBlock, [=] {
        SharedAllocator shared;
        const auto array = shared.take<float>(kThreads);
        array.set(thread_index(), 1.0f);
        meet();
        array.get(thread_index() ^ distance);
      });
    };
    const auto nothing = [] {};
    const auto warps = [] { warp_barrier(); };
    const auto blocks = [] { block_barrier(); };
    CHECK(neighbour(0, nothing) == "no error");
    CHECK(neighbour(1, warps) == "no error");
    CHECK(neighbour(32, blocks) == "no error");
    CHECK(neighbour(1, nothing) != "no error");
    CHECK(neighbour(32, warps) != "no error");
    const std::string read_then_written = error_of(kOneBlock, [] {
      SharedAllocator shared;
      const auto array = shared.take<float>(kThreads);
      array.set(thread_index(), 1.0f);
      block_barrier();
      array.get(thread_index() ^ 32);
      array.set(thread_index(), 2.0f);
    });
    CHECK(read_then_written.find("race on byte") != std::string::npos);
    const std::string one_place = error_of(kOneBlock, [] {
      SharedAllocator shared;
      shared.take<float>(kThreads).set(3, 1.0f);
    });
    CHECK(one_place.find("no barrier is between") != std::string::npos);
  }
}

TEST_CASE("shared memory has bounds, alignment and no contents to begin with", "[emulation]") {
  const auto with_array = [](auto use) {
    return error_of({2, 32, shared_bytes<float>(32)}, [use] {
      SharedAllocator shared;
      const auto array = shared.take<float>(30);
      if (thread_index() == 0) use(array);
    });
  };
  CHECK(with_array([](const auto& a) { a.set(29, 1.0f); }) == "no error");
  CHECK(with_array([](const auto& a) { a.set(30, 1.0f); }).find("array of 30") !=
        std::string::npos);
  CHECK(with_array([](const auto& a) { a.get(-1); }).find("array of 30") != std::string::npos);
  CHECK(with_array([](const auto& a) { a.get(4); }).find("nothing has written") !=
        std::string::npos);
  CHECK(with_array([](const auto& a) { a.write_words(1, Words<4>{}); }).find("not aligned") !=
        std::string::npos);
  CHECK(error_of({1, 32, 64}, [] {
          SharedAllocator().take<float>(17);
        }).find("the launch gave 64") != std::string::npos);
}

TEST_CASE("vectors of device memory must be aligned", "[emulation]") {
  alignas(16) float data[12] = {};
  const std::string error = error_of({1, 32}, [&] { load(data + 1, Columns<4>{}); });
  CHECK(error.find("not aligned") != std::string::npos);
}

TEST_CASE("packs round and keep every element in its place", "[emulation]") {
  alignas(16) float data[8];
  alignas(16) bf16 halves[8];
  for (int i = 0; i < 8; ++i) data[i] = 1.0f + 0.0123f * static_cast<float>(i);
  run({1, 32}, [&] {
    const auto pack = load(data, Columns<8>{});
    store(halves, pack);
    const auto rounded = rounded_to<bf16>(pack);
    for (int i = 0; i < 8; ++i) {
      CHECK(rounded.at[i] == static_cast<float>(bf16(data[i])));
      CHECK(halves[i].bits == bf16(data[i]).bits);
    }
    CHECK(sum_of(load(halves + 2, Columns<2>{})) == rounded.at[2] + rounded.at[3]);
  });
}

TEST_CASE("asynchronous copies land when they are waited for", "[emulation]") {
  alignas(16) bf16 data[16];
  for (int i = 0; i < 16; ++i) data[i] = bf16(static_cast<float>(i));
  constexpr LaunchShape kShape{1, 32, shared_bytes<bf16>(16)};
  const auto copy = [&](auto before_reading) {
    return error_of(kShape, [&] {
      SharedAllocator shared;
      const auto array = shared.take<bf16>(16);
      if (thread_index() == 0) {
        array.copy_async(0, data + 8, true);
        commit_copies();
        array.copy_async(8, data, false);
        commit_copies();
        before_reading();
        const float copied = to_float(array.get(3));
        const float zero = to_float(array.get(11));
        CHECK(copied == 11.0f);
        CHECK(zero == 0.0f);
      }
    });
  };
  CHECK(copy([] { wait_for_copies<0>(); }) == "no error");
  CHECK(copy([] { wait_for_copies<1>(); }).find("still copying") != std::string::npos);
  CHECK(copy([] {}).find("still copying") != std::string::npos);
}

TEST_CASE("a product of 16 x 16 and 16 x 8 by the warp's matrix instructions", "[emulation]") {
  // a (16, 16) and b, once as its transpose (8, 16) and once as it is (16, 8), in shared memory.
  const auto a_at = [](int row, int k) { return static_cast<float>((row * 7 + k * 3) % 11 - 5); };
  const auto b_at = [](int k, int col) { return static_cast<float>((k * 5 + col * 2) % 13 - 6); };
  for (const bool transposed : {false, true}) {
    run({1, 32, 2 * shared_bytes<bf16>(256)}, [&] {
      SharedAllocator shared;
      const auto a = shared.take<bf16>(256);
      const auto b = shared.take<bf16>(256);
      for (int i = lane(); i < 256; i += kWarpSize) {
        a.set(i, from_float<bf16>(a_at(i / 16, i % 16)));
        const int k = transposed ? i / 16 : i % 16;
        const int col = transposed ? i % 16 : i / 16;
        b.set(i, from_float<bf16>(col < 8 ? b_at(k, col) : 0.0f));
      }
      warp_barrier();
      const int second = lane() / 16 * 8;
      const Words<4> left = a.load_matrices(lane() % 16 * 16 + second);
      // Matrices in the order k 0..7, k 8..15 of columns 0..7.
      const Words<4> right = transposed ? b.load_matrices_transposed(lane() % 16 * 16 + second)
                                        : b.load_matrices(lane() % 8 * 16 + lane() / 8 % 2 * 8);
      float d[4] = {1.0f, 2.0f, 3.0f, 4.0f};
      multiply_add(d, left, right.at[0], right.at[1]);
      for (int i = 0; i < 4; ++i) {
        float want = static_cast<float>(i + 1);
        for (int k = 0; k < 16; ++k)
          want += a_at(lane() / 4 + i / 2 * 8, k) * b_at(k, lane() % 4 * 2 + i % 2);
        CHECK(d[i] == want);
      }
    });
  }
}

TEST_CASE("an error in a kernel ends the launch, and the next one works", "[emulation]") {
  CHECK(error_of(kOneBlock, [] {
          block_barrier();
          require(thread_index() != 3, ExitStatus::internal, "thread 3 has had enough");
          block_barrier();
        }) == "thread 3 has had enough");
  CHECK(error_of(kOneBlock, [] { block_barrier(); }) == "no error");
  CHECK(error_of({1, 48}, [] {}).find("whole warps") != std::string::npos);
  CHECK(error_of({1, 32, 300000}, [] {}).find("a block can have") != std::string::npos);
  CHECK_THROWS_AS(thread_index(), Error);
}

}  // namespace espalier::kernels::emulated
