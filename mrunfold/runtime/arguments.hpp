// The command line of mrunfold_recon.
#pragma once

#include <filesystem>
#include <string>

namespace mrunfold {

struct Arguments {
  std::filesystem::path model, kspace, maps, mask, out;
  double noise = 0;  // standard deviation in the units of k-space, E|n|² = noise²
  int batch = 1;     // slices at a time
  int threads = 0;   // 0: LibTorch's own choice
  int repeat = 0;    // timed repetitions of the first batch
  bool help = false;
};

extern const char* const kUsage;

// Throws InputError for what is missing, unknown or no number.
Arguments parse(int argc, char** argv);

}  // namespace mrunfold
