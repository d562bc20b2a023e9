// Where a node keeps its plan, and whether it is the one that was built.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_PLAN_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_PLAN_H_

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "engines.h"
#include "plan_files.h"
#include "sha256.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/path.h"

namespace tfgo {

// The attributes of a node that say what its plan is.
struct PlanAttributes {
  std::string_view serialized;  // the plan itself, in the node's own NodeDef; or empty
  std::string path;             // a file beside the model; relative to $TFGRAPHOPT_PLAN_DIR, else to the working directory
  std::string digest;           // sha256 of the plan, hexadecimal; a plan from a file must have one, for a plan is executable code
};

// The bytes of a plan; `file` owns them where they came from a file.
struct Plan {
  std::string file;
  std::string_view bytes;
  std::string digest;
};

inline std::string PlanFile(const std::string& path) {
  const char* base = std::getenv("TFGRAPHOPT_PLAN_DIR");
  return tensorflow::io::IsAbsolutePath(path) || !base || !*base ? path : tensorflow::io::JoinPath(base, path);
}

// Checks the digest of the plan that was read.
inline std::optional<Refusal> CheckPlan(const PlanAttributes& from, Plan* plan) {
  plan->digest = Sha256::Hex(plan->bytes);
  if (from.digest.empty() || from.digest == plan->digest) return std::nullopt;
  return Refusal{kPlanDamaged, "its sha256 is " + plan->digest + ", the node says " + from.digest};
}

inline std::optional<Refusal> ReadPlanFile(const PlanAttributes& from, const std::string& file, Plan* plan) {
  const absl::Status read = tensorflow::ReadFileToString(tensorflow::Env::Default(), file, &plan->file);
  if (!read.ok()) return Refusal{kPlanUnreadable, read.ToString()};
  plan->bytes = plan->file;
  return CheckPlan(from, plan);
}

// Reads the plan into `plan` and checks its digest: from the node, else from the file that a loaded model brought, else from the path in the node.
inline std::optional<Refusal> ReadPlan(const PlanAttributes& from, Plan* plan) {
  plan->bytes = from.serialized;
  if (!plan->bytes.empty()) return CheckPlan(from, plan);
  if (from.path.empty()) return Refusal{kNoPlan, ""};
  const std::string file = PlanFile(from.path);
  if (from.digest.empty()) return Refusal{kPlanUntrusted, file};
  std::optional<Refusal> refusal;
  for (const std::string& registered : PlanFiles::Global().Of(from.digest))
    if (!(refusal = ReadPlanFile(from, registered, plan))) return std::nullopt;
  const std::optional<Refusal> last = ReadPlanFile(from, file, plan);
  return last && refusal ? refusal : last;
}

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_PLAN_H_
