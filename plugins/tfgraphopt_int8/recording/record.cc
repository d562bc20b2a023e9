// The ops that watch tensors, and the pass that attaches them behind everything that rewrites graphs.
//
// A calibration graph holds one node TfgraphoptCalibration, which names tensors. Grappler fuses and folds around tensors that nobody
// else reads; a recording op in the GraphDef would be another reader, and results would differ in the last bits from those of the
// original graph. So the recording ops are added after Grappler has run, when the graph is about to be executed.

// Classes of TensorFlow's graph (EdgeSet) are laid out differently in debug builds; the installed library is none.
#ifndef NDEBUG
#define NDEBUG
#endif

#include <algorithm>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "statistics.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/graph/algorithm.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/graph/node_builder.h"
#include "tensorflow/core/util/device_name_utils.h"
#include "tensorflow/core/util/work_sharder.h"

namespace tfgraphopt {
namespace {

using tensorflow::DataType;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;

constexpr char kMarker[] = "TfgraphoptCalibration";
constexpr char kRecord[] = "TfgraphoptRecord";
constexpr int64_t kCost = 2;  // cycles a number; TensorFlow then makes parts of many thousand, and each part has tables of its own

REGISTER_OP("TfgraphoptCalibration")
    .Attr("calibration: string")
    .Attr("tensors: list(string)")
    .Attr("places: list(string)")
    .Attr("ancestors: list(string)")
    .Attr("node: string")
    .Attr("outputs: list(string) = []")
    .Attr("request: string = ''")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc("Marks a calibration graph: its tensors `tensors` are watched while it runs, at `places`; `ancestors` are the nodes before them (behind "
         "them, for placeholders), a text of lines each.");

REGISTER_OP("TfgraphoptRecord")
    .Input("x: T")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("calibration: string")
    .Attr("tensor: string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc("Adds a tensor to its statistics.");

class MarkerOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  void Compute(OpKernelContext*) override {}
};

class RecordOp : public OpKernel {
 public:
  explicit RecordOp(OpKernelConstruction* construction) : OpKernel(construction) {
    std::string calibration, tensor;
    OP_REQUIRES_OK(construction, construction->GetAttr("calibration", &calibration));
    OP_REQUIRES_OK(construction, construction->GetAttr("tensor", &tensor));
    watched_ = Table::Get().Find(calibration, tensor);
  }

  void Compute(OpKernelContext* context) override {
    const tensorflow::Tensor& x = context->input(0);
    if (x.dtype() == tensorflow::DT_FLOAT) Observe(context, x.flat<float>().data(), x.NumElements());
    if (x.dtype() == tensorflow::DT_HALF) ConvertFrom<Eigen::half>(context, x);
    if (x.dtype() == tensorflow::DT_BFLOAT16) ConvertFrom<Eigen::bfloat16>(context, x);
    if (x.dtype() == tensorflow::DT_DOUBLE) ConvertFrom<double>(context, x);
  }

 private:
  template <typename T>
  void ConvertFrom(OpKernelContext* context, const tensorflow::Tensor& x) {
    auto values = x.flat<T>();
    std::vector<float> wide(values.size());
    for (int64_t i = 0; i < values.size(); ++i) wide[i] = static_cast<float>(values(i));
    Observe(context, wide.data(), values.size());
  }

  // Counts in the threads that kernels compute in: a thread of its own would take a core from a kernel that waits for all of its parts.
  void Observe(OpKernelContext* context, const float* data, int64_t size) {
    std::mutex mutex;
    float amax = 0;
    auto whole = std::make_unique<TensorStatistics>();
    const auto count = [&](int64_t begin, int64_t end) {
      auto part = std::make_unique<TensorStatistics>();
      const float largest = part->Count(data + begin, end - begin);
      std::lock_guard<std::mutex> lock(mutex);
      amax = std::max(amax, largest);
      whole->Merge(*part);
    };
    const auto& threads = *context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(threads.num_threads, threads.workers, size, kCost, count);
    std::lock_guard<std::mutex> lock(watched_->mutex);
    watched_->statistics.Merge(*whole);
    watched_->statistics.EndBatch(amax);
  }

  std::shared_ptr<Watched> watched_;
};

REGISTER_KERNEL_BUILDER(Name(kMarker).Device(tensorflow::DEVICE_CPU), MarkerOp);
REGISTER_KERNEL_BUILDER(Name(kRecord).Device(tensorflow::DEVICE_CPU), RecordOp);

// "node:1" as ("node", 1).
std::pair<std::string, int> Parsed(const std::string& tensor) {
  const auto colon = tensor.rfind(':');
  if (colon == std::string::npos) return {tensor, 0};
  return {tensor.substr(0, colon), std::stoi(tensor.substr(colon + 1))};
}

using Nodes = std::unordered_map<std::string, Node*>;
using Names = std::unordered_set<std::string>;

Names Lines(const std::string& prefix, const std::string& text) {
  Names names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) names.insert(prefix + line);
  return names;
}

// The node that has the name of `name`, or the one that Grappler gives the root of a sum or product that it rewrites.
Node* Named(const Nodes& nodes, const std::string& name) {
  const auto slash = name.rfind('/');
  const std::string scope = slash == std::string::npos ? "" : name.substr(0, slash + 1);
  const std::string leaf = slash == std::string::npos ? name : name.substr(slash + 1);
  for (const std::string& candidate : {name, scope + "ArithmeticOptimizer/AddOpsRewrite_" + leaf,
                                       scope + "ArithmeticOptimizer/HoistCommonFactor_Mul_" + leaf}) {
    const auto found = nodes.find(candidate);
    if (found != nodes.end()) return found->second;
  }
  return nullptr;
}

// Whether an operand tells nothing of the order of operations.
bool IsNeutral(const Node* node) {
  return node->IsSource() || node->IsConstant() || node->IsArg() || node->IsRecv() || node->IsVariable() ||
         node->name().find("Optimizer") != std::string::npos;
}

// The node that computes now what `name` computed before Grappler, or null. Grappler moves activations behind poolings and
// concatenations and lets the nodes keep their names: then the value is the result of a node that used to come before.
Node* Computing(const Nodes& nodes, const std::string& name, const Names& ancestors) {
  Node* node = Named(nodes, name);
  if (node == nullptr) return nullptr;
  for (bool moved = true; moved;) {
    moved = false;
    for (const tensorflow::Edge* edge : node->out_edges()) {
      if (edge->IsControlEdge() || edge->src_output() != 0 || ancestors.count(edge->dst()->name()) == 0) continue;
      node = edge->dst();
      moved = true;
      break;
    }
  }
  if (node->name() != name && ancestors.count(node->name()) != 0) return node;
  for (const tensorflow::Edge* edge : node->in_edges()) {
    const bool before = edge->IsControlEdge() || IsNeutral(edge->src()) || ancestors.count(edge->src()->name()) != 0;
    if (!before) return nullptr;
  }
  return node;
}

// The argument that stands for placeholder `name`: by the name that a session gives it, or as the only one that nobody reads but
// `readers`, the nodes that used to come behind the placeholder.
Node* Argument(const Graph& graph, const std::string& name, const Names& readers) {
  Node* found = nullptr;
  for (Node* node : graph.op_nodes()) {
    if (!node->IsArg()) continue;
    if (node->name().rfind("_arg_" + name + "_0_", 0) == 0) return node;
    bool read = false, elsewhere = false;
    for (const tensorflow::Edge* edge : node->out_edges()) {
      if (edge->IsControlEdge()) continue;
      (readers.count(edge->dst()->name()) != 0 ? read : elsewhere) = true;
    }
    if (!read || elsewhere) continue;
    if (found != nullptr) return nullptr;
    found = node;
  }
  return found;
}

// The CPU of the process that `device` is in.
std::string HostOf(const std::string& device) {
  tensorflow::DeviceNameUtils::ParsedName parsed;
  if (!tensorflow::DeviceNameUtils::ParseFullName(device, &parsed)) return "";
  parsed.has_type = parsed.has_id = true;
  parsed.type = tensorflow::DEVICE_CPU;
  parsed.id = 0;
  return tensorflow::DeviceNameUtils::ParsedNameToString(parsed);
}

class AttachRecorders : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.graph == nullptr || *options.graph == nullptr) return absl::OkStatus();
    Graph* graph = options.graph->get();
    std::vector<Node*> markers;
    for (Node* node : graph->op_nodes()) {
      if (node->type_string() == kMarker) markers.push_back(node);
    }
    if (markers.empty()) return absl::OkStatus();
    Nodes nodes;
    for (Node* node : graph->op_nodes()) nodes.emplace(node->name(), node);
    for (Node* marker : markers) TF_RETURN_IF_ERROR(Attach(graph, marker, nodes));
    tensorflow::FixupSourceAndSinkEdges(graph);
    return absl::OkStatus();
  }

 private:
  absl::Status Attach(Graph* graph, Node* marker, const Nodes& nodes) {
    std::string calibration, own_name;
    std::vector<std::string> tensors, places, ancestors;
    TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(marker->attrs(), "calibration", &calibration));
    TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(marker->attrs(), "node", &own_name));
    TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(marker->attrs(), "tensors", &tensors));
    TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(marker->attrs(), "places", &places));
    TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(marker->attrs(), "ancestors", &ancestors));
    if (places.size() != tensors.size() || ancestors.size() != tensors.size()) {
      return absl::InvalidArgumentError("every tensor to be watched needs a place and its ancestors");
    }
    // An import under a name scope, or an inlined function, puts a prefix before every name.
    const std::string& name = marker->name();
    const bool scoped = name.size() > own_name.size() && name.compare(name.size() - own_name.size(), own_name.size(), own_name) == 0;
    const std::string prefix = scoped ? name.substr(0, name.size() - own_name.size()) : "";
    for (size_t i = 0; i < tensors.size(); ++i) {
      TF_RETURN_IF_ERROR(AttachOne(graph, marker, nodes, prefix + places[i], Lines(prefix, ancestors[i]), tensors[i], calibration));
    }
    return absl::OkStatus();
  }

  absl::Status AttachOne(Graph* graph, Node* marker, const Nodes& nodes,
                         const std::string& place, const Names& ancestors, const std::string& tensor,
                         const std::string& calibration) {
    const auto [node_name, index] = Parsed(place);
    auto watched = Table::Get().Find(calibration, tensor);
    Node* found = Computing(nodes, node_name, ancestors);
    if (found == nullptr && nodes.count(node_name) == 0) found = Argument(*graph, node_name, ancestors);
    if (found == nullptr || index >= found->num_outputs() || Reads(found, marker)) return absl::OkStatus();
    const DataType type = found->output_type(index);
    if (type != tensorflow::DT_FLOAT && type != tensorflow::DT_HALF && type != tensorflow::DT_BFLOAT16 &&
        type != tensorflow::DT_DOUBLE) {
      return absl::OkStatus();
    }
    Node* record;
    const std::string device = HostOf(found->assigned_device_name());
    TF_RETURN_IF_ERROR(tensorflow::NodeBuilder(graph->NewName(node_name + "/record"), kRecord, graph->op_registry())
                           .Input(found, index)
                           .Attr("calibration", calibration)
                           .Attr("tensor", tensor)
                           .Device(device)
                           .Finalize(graph, &record));
    if (!device.empty()) record->set_assigned_device_name(device);
    graph->AddControlEdge(record, marker);
    watched->attached = true;
    return absl::OkStatus();
  }

  // Whether `node` waits for the marker, which can be when a graph is composed with others.
  static bool Reads(Node* node, Node* marker) {
    for (const tensorflow::Edge* edge : node->in_edges()) {
      if (edge->src() == marker) return true;
    }
    return false;
  }
};

REGISTER_OPTIMIZATION(tensorflow::OptimizationPassRegistry::POST_REWRITE_FOR_EXEC, 0, AttachRecorders);

}  // namespace
}  // namespace tfgraphopt

#define TFGO_EXPORT extern "C" __attribute__((visibility("default")))

// Calls visit(data, tensor, numbers, bins, peaks, number of peaks) for every tensor of a calibration; numbers are
// attached, batches, count, zeros, nans, infinities, min, max, has_histogram, exponent; peaks are exponent, mantissa pairs.
typedef void (*TfgoVisitStatistics)(void*, const char*, const double*, const int64_t*, const int64_t*, int64_t);

TFGO_EXPORT void tfgo_int8_visit(const char* calibration, TfgoVisitStatistics visit, void* data) {
  for (auto& [name, watched] : tfgraphopt::Table::Get().All(calibration)) {
    std::lock_guard<std::mutex> lock(watched->mutex);
    const auto& s = watched->statistics;
    const double numbers[] = {double(watched->attached), double(s.batches), double(s.count), double(s.zeros), double(s.nans),
                              double(s.infinities), s.min, s.max, double(s.has_histogram), double(s.exponent)};
    std::vector<int64_t> peaks;
    for (const auto& [exponent, mantissa] : s.peaks) peaks.push_back(exponent), peaks.push_back(mantissa);
    visit(data, name.c_str(), numbers, s.bins.data(), peaks.data(), static_cast<int64_t>(peaks.size() / 2));
  }
}

TFGO_EXPORT void tfgo_int8_forget(const char* calibration) { tfgraphopt::Table::Get().Forget(calibration); }
