// mrunfold_recon: the posterior mean E[x|y] of undersampled multicoil k-space, with LibTorch and no Python.
//
// Exit codes: 0 done, 1 a bug, 2 bad input, 130 interrupted.  An unfinished image leaves no file.

#include <ATen/Parallel.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/script.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>

#include "arguments.hpp"
#include "cfl.hpp"

namespace {

using namespace mrunfold;

constexpr const char* kFormat = "mrunfold-mean-1";
constexpr double kNormTolerance = 0.01;

volatile std::sig_atomic_t interrupted = 0;

struct Interrupted {};

torch::jit::Module load_model(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    throw InputError(path.string() + ": no such file; write it with `mrunfold compile`");
  }
  torch::jit::ExtraFilesMap extra{{"format", ""}};
  try {
    auto module = torch::jit::load(path.string(), at::kCPU, extra);
    if (extra["format"] == kFormat) return module;
  } catch (const c10::Error&) {
    throw InputError(path.string() + ": LibTorch cannot read it as TorchScript; write it with `mrunfold compile`");
  }
  throw InputError(path.string() + ": its format is '" + extra["format"].substr(0, 40) + "' and " + kFormat +
                   " is wanted; write it with the `mrunfold compile` of this version");
}

// The two of dimensions 0-2 that are no 1: readout and phase.
std::array<std::size_t, 2> plane_of(const CflReader& kspace) {
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < 3; ++i) {
    if (kspace.dims()[i] > 1) axes.push_back(i);
  }
  if (axes.size() != 2) {
    throw InputError(kspace.path().string() + ": dimensions " + text(kspace.dims()) +
                     " are no 2-D k-space (readout, phase, 1, coil)");
  }
  return {axes[0], axes[1]};
}

// Dimensions of `file` are those of k-space, or 1 where `may_be_one`, or anything in map sets for the maps.
void check_dims(const CflReader& file, const CflReader& kspace, const char* what, bool sets, bool coils,
                bool may_be_one) {
  for (std::size_t i = 0; i < kDimensions; ++i) {
    const auto n = file.dims()[i], wanted = i == kCoil && !coils ? 1 : kspace.dims()[i];
    const bool broadcast = n == 1 && (i == kSlice || (i < kCoil && may_be_one));
    if (n != wanted && !broadcast && !(sets && i == kSet)) {
      throw InputError(file.path().string() + ": the " + what + " of k-space " + text(kspace.dims()) +
                       " cannot be " + text(file.dims()) + "; dimension " + std::to_string(i) + " is to be " +
                       std::to_string(wanted));
    }
  }
}

class Scan {
 public:
  explicit Scan(const Arguments& arguments)
      : kspace_(arguments.kspace), maps_(arguments.maps), mask_(arguments.mask), plane_(plane_of(kspace_)) {
    for (std::size_t i = kSet; i < kSlice; ++i) {
      if (kspace_.dims()[i] != 1) {
        throw InputError(kspace_.path().string() + ": BART dimension " + std::to_string(i) + " is " +
                         std::to_string(kspace_.dims()[i]) + "; take one with `bart slice " +
                         std::to_string(i) + " 0 in out`");
      }
    }
    check_dims(maps_, kspace_, "maps", true, true, false);
    check_dims(mask_, kspace_, "mask", false, false, true);
  }

  std::int64_t slices() const { return kspace_.slices(); }

  Dimensions image_dims() const {
    Dimensions dims = kspace_.dims();
    dims[kCoil] = 1;
    dims[kSet] = maps_.dims()[kSet];
    return dims;
  }

  // The arguments of the model for `count` slices from `first` on.
  std::vector<c10::IValue> inputs(std::int64_t first, std::int64_t count, double noise) {
    const auto kspace = plane_last(kspace_, first, count, {kspace_.dims()[kCoil]});
    const auto maps = plane_last(maps_, first, count, {maps_.dims()[kSet], maps_.dims()[kCoil]});
    const auto energy = at::real(maps * maps.conj()).sum(-3).max().item<double>();
    if (energy > 1 + kNormTolerance) {
      throw InputError(maps_.path().string() + ": the maps' sum of squares over coils reaches " +
                       std::to_string(energy) + "; divide them by its root, as ESPIRiT maps are");
    }
    return {kspace, maps, sampled(first, count), at::full({count}, noise, at::kFloat)};
  }

 private:
  // (slice, …, readout, phase) of a file, finite; a file of one slice serves all of them.
  at::Tensor plane_last(CflReader& file, std::int64_t first, std::int64_t count,
                        const std::vector<std::int64_t>& between) {
    const bool one = file.slices() == 1;
    auto data = file.read(one ? 0 : first, one ? 1 : count);
    std::vector<std::int64_t> shape{one ? 1 : count};
    shape.insert(shape.end(), between.begin(), between.end());
    shape.push_back(file.dims()[plane_[1]]);
    shape.push_back(file.dims()[plane_[0]]);  // the first dimension is the fastest
    const auto tensor = at::from_blob(data.data(), shape, at::kComplexFloat).transpose(-2, -1).contiguous();
    if (!at::isfinite(at::view_as_real(tensor)).all().item<bool>()) {
      throw InputError(file.path().string() + ": slices from " + std::to_string(first) +
                       " hold values that are NaN or infinite");
    }
    shape = tensor.sizes().vec();
    shape[0] = count;
    return tensor.expand(shape).contiguous();
  }

  at::Tensor sampled(std::int64_t first, std::int64_t count) {
    const auto mask = plane_last(mask_, first, count, {});
    const auto real = at::real(mask);
    if (!(at::imag(mask) == 0).logical_and((real == 0).logical_or(real == 1)).all().item<bool>()) {
      throw InputError(mask_.path().string() + ": a mask is 1 where sampled and 0 elsewhere; other values found");
    }
    if (!real.flatten(1).sum(1).gt(0).all().item<bool>()) {
      throw InputError(mask_.path().string() + ": nothing is sampled in one of the slices from " +
                       std::to_string(first));
    }
    return real.expand({count, kspace_.dims()[plane_[0]], kspace_.dims()[plane_[1]]}).contiguous();
  }

  CflReader kspace_, maps_, mask_;
  std::array<std::size_t, 2> plane_;
};

void time_model(torch::jit::Module& model, const std::vector<c10::IValue>& inputs, std::int64_t count, int repeat) {
  std::vector<double> seconds;
  for (int i = 0; i < repeat && !interrupted; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    model.forward(inputs);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    seconds.push_back(passed.count() / static_cast<double>(count));
  }
  if (interrupted) throw Interrupted{};
  std::sort(seconds.begin(), seconds.end());
  const auto middle = seconds.size() / 2;
  const double median = seconds.size() % 2 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  std::printf("seconds a slice, median of %d: %.6f\n", repeat, median);
}

void run(const Arguments& arguments) {
  if (arguments.threads > 0) at::set_num_threads(arguments.threads);
  const c10::InferenceMode inference;
  // The profiling executor spends the first two slices on code that is no faster: the time is in its operators.
  torch::jit::setGraphExecutorOptimize(false);
  auto model = load_model(arguments.model);
  Scan scan(arguments);
  CflWriter writer(arguments.out, scan.image_dims());
  const bool progress = ::isatty(STDERR_FILENO);
  for (std::int64_t first = 0; first < scan.slices(); first += arguments.batch) {
    const auto count = std::min<std::int64_t>(arguments.batch, scan.slices() - first);
    const auto inputs = scan.inputs(first, count, arguments.noise);
    const auto image = model.forward(inputs).toTuple()->elements()[0].toTensor().transpose(-2, -1).contiguous();
    if (interrupted) throw Interrupted{};
    if (!at::isfinite(at::view_as_real(image)).all().item<bool>()) {
      throw InputError("the network gave values that are not finite in the slices from " + std::to_string(first));
    }
    const auto* data = reinterpret_cast<const std::complex<float>*>(image.const_data_ptr<c10::complex<float>>());
    writer.append(data, image.numel());
    if (progress) std::cerr << "\rslice " << first + count << " of " << scan.slices() << std::flush;
  }
  if (progress) std::cerr << "\n";
  if (arguments.repeat > 0) {
    const auto count = std::min<std::int64_t>(arguments.batch, scan.slices());
    time_model(model, scan.inputs(0, count, arguments.noise), count, arguments.repeat);
  }
  writer.finish();
}

int fail(const std::string& message, int code) {
  std::cerr << "error: " << message.substr(0, message.find('\n')) << "\n";
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { interrupted = 1; });
  try {
    const auto arguments = parse(argc, argv);
    if (arguments.help) {
      std::cout << kUsage;
    } else {
      run(arguments);
    }
    return 0;
  } catch (const Interrupted&) {
    std::cerr << "interrupted: nothing was written\n";
    return 130;
  } catch (const InputError& error) {
    return fail(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; try --batch 1", 2);
  } catch (const c10::Error& error) {
    return fail(error.what_without_backtrace(), 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
