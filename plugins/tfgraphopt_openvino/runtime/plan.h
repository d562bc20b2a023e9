// The plan of an OpenVINO engine: a text header, then the model as OpenVINO's IR (an XML text and the elements of its constants).
//
//   tfgraphopt-openvino 1
//   input 1                  TensorFlow's number of the element type, one line an input
//   output 1
//   property NAME VALUE      for the compilation of the model
//   variant 1:8x224:224x3:3  shapes to compile for, smallest:largest of each dimension (-1: any), one word an input ("-": a scalar);
//                            the first variant that fits runs a call
//   xml 12345                bytes
//   weights 67890            bytes
//   end
//
// The XML follows the newline behind "end"; the constants begin at the next multiple of 64 bytes.
#ifndef TFGRAPHOPT_OPENVINO_RUNTIME_PLAN_H_
#define TFGRAPHOPT_OPENVINO_RUNTIME_PLAN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace tfgo_openvino {

struct Range {
  int64_t min, max;  // max -1: unbounded
  bool Holds(int64_t dim) const { return dim >= min && (max < 0 || dim <= max); }
};

using Ranges = std::vector<Range>;       // of one input
using Variant = std::vector<Ranges>;     // of all inputs

struct Plan {
  std::vector<int32_t> inputs, outputs;  // TensorFlow's numbers of element types
  std::map<std::string, std::string> properties;
  std::vector<Variant> variants;
  std::string_view xml, weights;
};

inline std::optional<Ranges> ParseRanges(const std::string& word) {
  Ranges ranges;
  if (word == "-") return ranges;
  std::istringstream text(word);
  char mark = 'x';
  while (mark == 'x') {
    Range range;
    char colon;
    if (!(text >> range.min >> colon >> range.max) || colon != ':') return std::nullopt;
    ranges.push_back(range);
    if (!(text >> mark)) return ranges;
  }
  return std::nullopt;
}

inline bool ParseVariant(std::istringstream& words, Plan* plan) {
  Variant variant;
  std::string word;
  while (words >> word) {
    auto ranges = ParseRanges(word);
    if (!ranges) return false;
    variant.push_back(*ranges);
  }
  plan->variants.push_back(variant);
  return variant.size() == plan->inputs.size();
}

inline bool ParseNumber(std::istringstream& words, std::vector<int32_t>* numbers) {
  int32_t number;
  if (!(words >> number)) return false;
  numbers->push_back(number);
  return true;
}

// One line of the header; false where it makes no sense.
inline bool ParseLine(const std::string& line, Plan* plan, size_t* xml, size_t* weights) {
  std::istringstream words(line);
  std::string key, name;
  words >> key;
  if (key == "input") return ParseNumber(words, &plan->inputs);
  if (key == "output") return ParseNumber(words, &plan->outputs);
  if (key == "property") return static_cast<bool>(words >> name >> plan->properties[name]);
  if (key == "variant") return ParseVariant(words, plan);
  if (key == "xml") return static_cast<bool>(words >> *xml);
  if (key == "weights") return static_cast<bool>(words >> *weights);
  return false;
}

// The parts of a plan, which point into `bytes`; none where it is not one.
inline std::optional<Plan> ParsePlan(std::string_view bytes) {
  constexpr std::string_view kMagic = "tfgraphopt-openvino 1\n";
  if (bytes.substr(0, kMagic.size()) != kMagic) return std::nullopt;
  Plan plan;
  size_t xml = 0, weights = 0, at = kMagic.size();
  while (true) {
    const size_t end = bytes.find('\n', at);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string line(bytes.substr(at, end - at));
    at = end + 1;
    if (line == "end") break;
    if (!ParseLine(line, &plan, &xml, &weights)) return std::nullopt;
  }
  if (xml > bytes.size() - at) return std::nullopt;
  const size_t constants = (at + xml + 63) / 64 * 64;
  if (constants > bytes.size() || weights != bytes.size() - constants) return std::nullopt;
  plan.xml = bytes.substr(at, xml);
  plan.weights = bytes.substr(constants, weights);
  return plan;
}

}  // namespace tfgo_openvino

#endif  // TFGRAPHOPT_OPENVINO_RUNTIME_PLAN_H_
