// Where the plan files of loaded models lie, by the digest of the plan: the initialiser of a SavedModel says so (TfgraphoptRegisterPlans).
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_PLAN_FILES_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_PLAN_FILES_H_

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace tfgo {

// Files are found by content, so two models may bring the same plan, and a wrong path does no harm: what is read is checked.
class PlanFiles {
 public:
  static PlanFiles& Global() {
    static PlanFiles* table = new PlanFiles;  // never destroyed: kernels may outlive static destruction
    return *table;
  }

  void Add(const std::string& digest, const std::string& path) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto& paths = paths_[digest];
    paths.erase(std::remove(paths.begin(), paths.end(), path), paths.end());
    paths.push_back(path);
  }

  // The files that may hold the plan, the one registered last first.
  std::vector<std::string> Of(const std::string& digest) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = paths_.find(digest);
    if (found == paths_.end()) return {};
    return {found->second.rbegin(), found->second.rend()};
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> paths_;
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_PLAN_FILES_H_
