#include "arguments.hpp"

#include <cmath>
#include <map>

#include "cfl.hpp"

namespace mrunfold {

const char* const kUsage =
    "usage: mrunfold_recon --model FILE --kspace CFL --maps CFL --mask CFL --noise STD --out CFL\n"
    "                      [--batch SLICES] [--threads N] [--repeat N]\n"
    "\n"
    "Reconstructs undersampled multicoil k-space by the network of `mrunfold compile`.  Not for diagnosis.\n"
    "\n"
    "  --model    TorchScript file of `mrunfold compile`\n"
    "  --kspace   whitened k-space, BART dimensions (readout, phase, 1, coil), slices in 13\n"
    "  --maps     coil sensitivities, sum of squares at most 1; map sets in 4; slices in 13, or one for all\n"
    "  --mask     1 where sampled, 0 elsewhere; an axis may be 1, slices too\n"
    "  --noise    standard deviation of the noise in k-space, E|n|^2 = STD^2; 1 after whitening\n"
    "  --out      image in the units of k-space (readout, phase), map sets in 4, slices in 13\n"
    "  --batch    slices at a time (1)\n"
    "  --threads  CPU threads\n"
    "  --repeat   time the first batch so often after it is done, and print the median\n";

namespace {

int whole(const std::string& name, const std::string& word, int least) {
  const bool good = !word.empty() && word.size() < 7 && word.find_first_not_of("0123456789") == std::string::npos;
  if (!good || std::stoi(word) < least) {
    throw InputError("--" + name + " is a whole number from " + std::to_string(least) + " up, got '" + word + "'");
  }
  return std::stoi(word);
}

double level(const std::string& word) {
  std::size_t read = 0;
  double value = 0;
  try {
    value = std::stod(word, &read);
  } catch (const std::logic_error&) {  // no number, or out of range
  }
  if (read != word.size() || !std::isfinite(value) || !(value > 0)) {
    throw InputError("--noise is a standard deviation > 0 in the units of k-space, got '" + word + "'");
  }
  return value;
}

}  // namespace

Arguments parse(int argc, char** argv) {
  std::map<std::string, std::string> given{{"model", ""}, {"kspace", ""}, {"maps", ""}, {"mask", ""},
                                           {"noise", ""}, {"out", ""}, {"batch", "1"}, {"threads", "0"},
                                           {"repeat", "0"}};
  Arguments out;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") {
      out.help = true;
      return out;
    }
    const auto option = word.rfind("--", 0) == 0 ? given.find(word.substr(2)) : given.end();
    if (option == given.end()) throw InputError("unknown option '" + word + "'; see --help");
    if (i + 1 >= argc || argv[i + 1][0] == '\0') throw InputError(word + " needs a value; see --help");
    option->second = argv[++i];
  }
  for (const auto& [name, value] : given) {
    if (value.empty()) throw InputError("--" + name + " is missing; see --help");
  }
  out.model = given["model"];
  out.kspace = given["kspace"];
  out.maps = given["maps"];
  out.mask = given["mask"];
  out.out = given["out"];
  out.noise = level(given["noise"]);
  out.batch = whole("batch", given["batch"], 1);
  out.threads = whole("threads", given["threads"], 0);
  out.repeat = whole("repeat", given["repeat"], 0);
  return out;
}

}  // namespace mrunfold
