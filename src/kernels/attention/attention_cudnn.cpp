// The graphs are those of NVIDIA's own frontend, because it knows what each version of the library
// can do: which engine of Blackwell adds in a fixed order is nowhere else to be found.
#include <dlfcn.h>

#include "kernels/attention/cudnn_loading.hpp"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define dlopen espalier::kernels::cudnn_loading::open
#define dlsym espalier::kernels::cudnn_loading::find
#include <cudnn_frontend.h>
#undef dlsym
#undef dlopen

#include <fmt/ranges.h>
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "kernels/attention/attention_cudnn.hpp"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend's own, declared there
}

namespace espalier::kernels {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Graph;

/// 9.18.1 is the first whose gradients on Blackwell can be repeated; before 9.6 the frontend would
/// have to clear workspaces.
constexpr std::int64_t kOldestVersion = 91801;

/// Names of the tensors in a graph, in the order of CudnnCall::strides.
enum Id : std::int64_t { kQ = 1, kK, kV, kO, kLse, kDO, kDQ, kDK, kDV };

std::string describe(const CudnnCall& call) {
  const AttentionShape& s = call.shape;
  return fmt::format("{}: B {}, S {}, A {}, K {}, D {}, rows {} elements apart",
                     call.backward ? "backward" : "forward", s.batch, s.query_length, s.num_q_heads,
                     s.num_kv_heads, s.head_dim, fmt::join(call.strides, ", "));
}

/// The library, and the part of it that it is loaded through.
struct Library {
  std::string missing;
  std::int64_t version = 0;
  decltype(&::cudnnCreate) create = nullptr;
  decltype(&::cudnnSetStream) set_stream = nullptr;

  static const Library& of_process() {
    static const Library library;
    return library;
  }

 private:
  Library() {
    void* handle = nullptr;
    for (const char* name : {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"}) {
      handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle != nullptr) break;
      const char* why = dlerror();
      missing +=
          fmt::format("{}{}", missing.empty() ? "libcudnn.so.9, which cannot be loaded (" : "; ",
                      why != nullptr ? why : name);
    }
    if (handle == nullptr) {
      missing += "); its folder belongs in LD_LIBRARY_PATH";
      return;
    }
    missing.clear();
    fe::cudnn_dlhandle = handle;  // stays loaded for the life of the process
    create = reinterpret_cast<decltype(create)>(::dlsym(handle, "cudnnCreate"));
    set_stream = reinterpret_cast<decltype(set_stream)>(::dlsym(handle, "cudnnSetStream"));
    if (create == nullptr || set_stream == nullptr || ::dlsym(handle, "cudnnGetVersion") == nullptr)
      missing = "libcudnn.so.9 with cudnnCreate, cudnnSetStream and cudnnGetVersion";
    else if (version = static_cast<std::int64_t>(fe::detail::get_backend_version());
             version < kOldestVersion)
      missing = fmt::format("cuDNN 9.18.1 or later, not {}.{}.{}", version / 10000,
                            version / 100 % 100, version % 100);
  }
};

/// Where an error happened, for its message.
struct Place {
  const CudnnCall& call;
  std::string device;

  void check(const fe::error_t& error, const char* function) const {
    if (error.is_good()) return;
    fail(ExitStatus::internal,
         "{}: cuDNN {}: {}: {} (attention {}); device.attention = \"auto\" or "
         "\"mma\" does without it",
         device, Library::of_process().version, function, error.err_msg, describe(call));
  }
  void check(cudnnStatus_t status, const char* function) const {
    if (status == CUDNN_STATUS_SUCCESS) return;
    fail(ExitStatus::internal, "{}: cuDNN {}: {}: {} (attention {})", device,
         Library::of_process().version, function, fe::detail::get_error_string(status),
         describe(call));
  }
};

/// The graph of one call. Heads lie side by side in a row, rows of a sequence below each other.
class GraphMaker {
 public:
  GraphMaker(Graph& graph, const CudnnCall& call) : graph_(graph), call_(call) {
    graph.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
  }

  void forward() {
    const auto [o, lse] = graph_.sdpa(
        input(kQ), input(kK), input(kV),
        fe::graph::SDPA_attributes()
            .set_name("attention")
            .set_generate_stats(true)  // log of the sum of exp(scale q k), natural, as ours
            .set_causal_mask(true)
            .set_attn_scale(scale()));
    output(o, kO);
    output(lse, kLse);
  }

  void backward() {
    const auto [dq, dk, dv] =
        graph_.sdpa_backward(input(kQ), input(kK), input(kV), input(kO), input(kDO), input(kLse),
                             fe::graph::SDPA_backward_attributes()
                                 .set_name("attention backward")
                                 .set_causal_mask(true)
                                 .set_attn_scale(scale())
                                 .set_deterministic_algorithm(call_.deterministic));
    output(dq, kDQ);
    output(dk, kDK);
    output(dv, kDV);
  }

 private:
  using Tensor = fe::graph::Tensor_attributes;

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(call_.shape.head_dim)); }

  void shape(Tensor& tensor, Id id) const {
    const AttentionShape& s = call_.shape;
    const std::int64_t stride = call_.strides[static_cast<std::size_t>(id - kQ)];
    tensor.set_uid(id);
    if (id == kLse) {  // (B*A, S), a row per head
      tensor.set_data_type(fe::DataType_t::FLOAT)
          .set_dim({s.batch, s.num_q_heads, s.query_length, 1})
          .set_stride({s.num_q_heads * stride, stride, 1, 1});
      return;
    }
    const bool of_keys = id == kK || id == kV || id == kDK || id == kDV;
    tensor.set_data_type(fe::DataType_t::BFLOAT16)
        .set_dim({s.batch, of_keys ? s.num_kv_heads : s.num_q_heads, s.query_length, s.head_dim})
        .set_stride({s.query_length * stride, s.head_dim, stride, 1});
  }
  std::shared_ptr<Tensor> input(Id id) const {
    Tensor tensor;
    shape(tensor, id);
    return graph_.tensor(tensor);
  }
  void output(const std::shared_ptr<Tensor>& tensor, Id id) const {
    shape(*tensor, id);
    tensor->set_output(true);
  }

  Graph& graph_;
  const CudnnCall& call_;
};

/// `handle`: of the device; null where the graph carries a device's properties.
std::unique_ptr<Graph> build(std::unique_ptr<Graph> graph, const Place& place,
                             cudnnHandle_t handle) {
  GraphMaker maker(*graph, place.call);
  if (place.call.backward)
    maker.backward();
  else
    maker.forward();
  place.check(graph->validate(), "validate");
  place.check(
      handle != nullptr ? graph->build_operation_graph(handle) : graph->build_operation_graph(),
      "build_operation_graph");
  place.check(graph->create_execution_plans({fe::HeurMode_t::A}), "create_execution_plans");
  place.check(graph->check_support(), "check_support");
  place.check(graph->build_plans(), "build_plans");
  return graph;
}

/// Handle and plans of one GPU.
class Device {
 public:
  explicit Device(int ordinal) : ordinal_(ordinal) {}

  /// `tensors`: where they lie, by Id.
  void run(const device::Queue& queue, const CudnnCall& call,
           std::unordered_map<std::int64_t, void*> tensors, device::View scratch) {
    const Place place{call, name_};
    const std::scoped_lock lock(mutex_);
    if (handle_ == nullptr) open(place);
    const Plan& plan = plan_of(place);
    if (call.backward)
      require(plan.workspace_bytes <= scratch.size_bytes(), ExitStatus::internal,
              "{}: cuDNN {} needs a workspace of {} bytes for attention {}, {} are planned; set "
              "device.attention = \"mma\"",
              name_, Library::of_process().version, plan.workspace_bytes, describe(call),
              scratch.size_bytes());
    else
      require(plan.workspace_bytes == 0 || plan.workspace_bytes <= 4 * queue.workspace_elements,
              ExitStatus::internal,
              "{}: cuDNN {} needs a workspace of {} bytes for attention {}, {} are planned; set "
              "device.attention = \"mma\"",
              name_, Library::of_process().version, plan.workspace_bytes, describe(call),
              4 * queue.workspace_elements);
    place.check(Library::of_process().set_stream(handle_, queue.stream), "cudnnSetStream");
    void* workspace = call.backward ? scratch.data : static_cast<void*>(queue.workspace);
    place.check(plan.graph->execute(handle_, tensors, workspace), "execute");
  }

 private:
  struct Plan {
    std::unique_ptr<Graph> graph;
    std::int64_t workspace_bytes = 0;
  };
  using Key = std::array<std::int64_t, 16>;

  void open(const Place& place) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal_) == cudaSuccess)
      name_ = fmt::format("GPU {} ({})", ordinal_, properties.name);
    place.check(Library::of_process().create(&handle_), "cudnnCreate");
  }
  static Key key_of(const CudnnCall& call) {
    const AttentionShape& s = call.shape;
    Key key{call.backward, call.deterministic, s.batch,   s.query_length,
            s.num_q_heads, s.num_kv_heads,     s.head_dim};
    std::copy(call.strides.begin(), call.strides.end(), key.begin() + 7);
    return key;
  }
  const Plan& plan_of(const Place& place) {
    Plan& plan = plans_[key_of(place.call)];
    if (plan.graph == nullptr) {
      plan.graph = build(std::make_unique<Graph>(), place, handle_);
      plan.workspace_bytes = plan.graph->get_workspace_size();
    }
    return plan;
  }

  int ordinal_;
  std::string name_ = fmt::format("GPU {}", ordinal_);
  std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;  // lives as long as the process, like the plans
  std::map<Key, Plan> plans_;
};

Device& current_device() {
  static std::mutex mutex;
  // Never destroyed: the driver may be gone when static objects are.
  static auto& devices = *new std::map<int, Device>;
  int ordinal = 0;
  require(cudaGetDevice(&ordinal) == cudaSuccess, ExitStatus::internal,
          "attention by cuDNN: the thread has no GPU");
  const std::scoped_lock lock(mutex);
  return devices.try_emplace(ordinal, ordinal).first->second;
}

void* address(const device::ConstView& view) {
  return const_cast<void*>(view.data);
}

}  // namespace

CudnnCall call_of(const AttentionForward& a) {
  return {.shape = a.shape,
          .strides = {a.q.stride, a.k.stride, a.v.stride, a.o.stride, a.lse.stride}};
}
CudnnCall call_of(const AttentionBackward& a) {
  return {.shape = a.shape,
          .backward = true,
          .deterministic = a.deterministic,
          .strides = {a.q.stride, a.k.stride, a.v.stride, a.o.stride, a.lse.stride, a.d_o.stride,
                      a.d_q.stride, a.d_k.stride, a.d_v.stride}};
}

const std::string& missing_for_cudnn() {
  return Library::of_process().missing;
}

std::int64_t cudnn_version() {
  return Library::of_process().version;
}

void attention_forward_cudnn(const device::Queue& queue, const AttentionForward& a) {
  current_device().run(queue, call_of(a),
                       {{kQ, address(a.q)},
                        {kK, address(a.k)},
                        {kV, address(a.v)},
                        {kO, a.o.data},
                        {kLse, a.lse.data}},
                       {});
}

void attention_backward_cudnn(const device::Queue& queue, const AttentionBackward& a) {
  current_device().run(queue, call_of(a),
                       {{kQ, address(a.q)},
                        {kK, address(a.k)},
                        {kV, address(a.v)},
                        {kO, address(a.o)},
                        {kLse, address(a.lse)},
                        {kDO, address(a.d_o)},
                        {kDQ, a.d_q.data},
                        {kDK, a.d_k.data},
                        {kDV, a.d_v.data}},
                       a.scratch);
}

CudnnPlanFacts cudnn_plan_for(const CudnnCall& call, std::string_view properties,
                              int compute_capability) {
  require(missing_for_cudnn().empty(), ExitStatus::internal, "{}", missing_for_cudnn());
  const Place place{call, fmt::format("a device of compute capability {}", compute_capability)};
  auto device = std::make_shared<fe::DeviceProperties>();
  place.check(device->deserialize({properties.begin(), properties.end()}), "deserialize");
  auto graph = std::make_unique<Graph>();
  graph->set_device_properties(device);
  graph->set_sm_version(compute_capability);
  graph = build(std::move(graph), place, nullptr);
  CudnnPlanFacts facts{.engine = "", .workspace_bytes = graph->get_workspace_size()};
  place.check(graph->get_plan_name(facts.engine), "get_plan_name");
  return facts;
}

}  // namespace espalier::kernels
