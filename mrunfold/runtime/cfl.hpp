// BART's .cfl/.hdr pairs: complex float, first dimension fastest, little-endian.
#pragma once

#include <array>
#include <complex>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace mrunfold {

// Bad input: one line that says what was expected, what came and what to do.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr std::size_t kDimensions = 16;
constexpr std::size_t kCoil = 3, kSet = 4, kSlice = 13;  // BART's places for them
using Dimensions = std::array<std::int64_t, kDimensions>;

// "(320, 320, 1, 15)": the dimensions without those of 1 at the end.
std::string text(const Dimensions& dims);

// One pair, read some slices at a time.  Throws InputError where header and data disagree.
class CflReader {
 public:
  // name: either file of the pair or their common stem.
  explicit CflReader(const std::filesystem::path& name);
  const Dimensions& dims() const { return dims_; }
  const std::filesystem::path& path() const { return path_; }
  std::int64_t slices() const { return dims_[kSlice]; }
  // `count` slices from `first` on, as they lie in the file: slice is the slowest dimension.
  std::vector<std::complex<float>> read(std::int64_t first, std::int64_t count);

 private:
  std::filesystem::path path_;
  Dimensions dims_{};
  std::int64_t slice_elements_ = 0;
  std::ifstream file_;
};

// One pair that appears under its name when `finish` is called, and leaves nothing if it is not.
class CflWriter {
 public:
  CflWriter(const std::filesystem::path& name, const Dimensions& dims);
  ~CflWriter();
  CflWriter(const CflWriter&) = delete;
  CflWriter& operator=(const CflWriter&) = delete;
  void append(const std::complex<float>* data, std::int64_t count);
  void finish();

 private:
  void check(const std::ostream& stream) const;

  std::filesystem::path data_, header_, part_data_, part_header_;
  Dimensions dims_;
  std::int64_t left_;
  std::ofstream file_;
};

}  // namespace mrunfold
