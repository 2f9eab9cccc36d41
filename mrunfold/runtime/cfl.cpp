#include "cfl.hpp"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <sstream>
#include <system_error>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "cfl files are little-endian and are read as they lie"
#endif

namespace fs = std::filesystem;

namespace mrunfold {
namespace {

constexpr std::uintmax_t kMaxHeaderBytes = 1 << 20;
constexpr std::size_t kMaxWords = 32;  // some writers put zeros of a longer header behind the sixteen
constexpr std::int64_t kMaxSliceBytes = std::int64_t{4} << 30;
constexpr std::int64_t kElement = sizeof(std::complex<float>);

fs::path with_suffix(const fs::path& name, const char* suffix) {
  const auto given = name.extension();
  const fs::path stem = given == ".cfl" || given == ".hdr" ? fs::path(name).replace_extension() : name;
  return stem.string() + suffix;
}

std::string trimmed(const std::string& line) {
  const char* blank = " \t\r\v\f";
  const auto begin = line.find_first_not_of(blank);
  return begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of(blank) - begin + 1);
}

// The words of the first line with any after "# Dimensions"; at most kMaxWords + 1 of them.
std::vector<std::string> dimension_words(std::istream& header) {
  std::string line;
  while (std::getline(header, line) && trimmed(line) != "# Dimensions") {
  }
  std::vector<std::string> words;
  while (words.empty() && std::getline(header, line)) {
    std::istringstream stream(line);
    for (std::string word; words.size() <= kMaxWords && stream >> word;) words.push_back(word);
  }
  return words;
}

// A positive decimal number of at most nine digits, or 0.
std::int64_t positive(const std::string& word) {
  if (word.empty() || word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos) return 0;
  return std::stoll(word);
}

Dimensions read_header(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) throw InputError(path.string() + ": cannot be read; a BART file is a pair of .cfl and .hdr");
  if (size > kMaxHeaderBytes) throw InputError(path.string() + ": too long for a BART header");
  std::ifstream file(path, std::ios::binary);
  const auto words = dimension_words(file);
  Dimensions dims;
  dims.fill(1);
  bool good = !words.empty() && words.size() <= kMaxWords;
  for (std::size_t i = 0; good && i < words.size(); ++i) {
    const auto n = positive(words[i]);
    good = n > 0;
    if (i < kDimensions) {
      dims[i] = n;
    } else if (n > 1) {
      throw InputError(path.string() + ": more than 16 dimensions; BART has 16");
    }
  }
  if (!good) {
    throw InputError(path.string() + ": no line of positive dimensions after '# Dimensions'; write it with BART");
  }
  return dims;
}

// The product, or -1 where it is more bytes than a file can have.
std::int64_t elements(const Dimensions& dims) {
  constexpr auto limit = std::numeric_limits<std::int64_t>::max() / kElement;
  std::int64_t product = 1;
  for (const auto n : dims) {
    if (product > limit / n) return -1;
    product *= n;
  }
  return product;
}

}  // namespace

std::string text(const Dimensions& dims) {
  std::size_t count = kDimensions;
  while (count > 1 && dims[count - 1] == 1) --count;
  std::string out = "(";
  for (std::size_t i = 0; i < count; ++i) out += (i ? ", " : "") + std::to_string(dims[i]);
  return out + ")";
}

CflReader::CflReader(const fs::path& name)
    : path_(with_suffix(name, ".cfl")), dims_(read_header(with_suffix(name, ".hdr"))) {
  for (std::size_t i = kSlice + 1; i < kDimensions; ++i) {
    if (dims_[i] != 1) {
      throw InputError(path_.string() + ": BART dimension " + std::to_string(i) + " is " +
                       std::to_string(dims_[i]) + "; take one with `bart slice " + std::to_string(i) +
                       " 0 in out`");
    }
  }
  const auto count = elements(dims_);
  std::error_code error;
  const auto size = fs::file_size(path_, error);
  if (error) throw InputError(path_.string() + ": cannot be read, though its .hdr is there");
  if (count < 0 || size != static_cast<std::uintmax_t>(count) * kElement) {
    throw InputError(path_.string() + ": has " + std::to_string(size) + " bytes, not those of its .hdr's " +
                     text(dims_) + "; it is truncated or not its pair");
  }
  slice_elements_ = count / dims_[kSlice];
  if (slice_elements_ > kMaxSliceBytes / kElement) {
    throw InputError(path_.string() + ": one slice is over 4 GB; split it");
  }
  file_.open(path_, std::ios::binary);
  if (!file_) throw InputError(path_.string() + ": cannot be opened; check its permissions");
}

std::vector<std::complex<float>> CflReader::read(std::int64_t first, std::int64_t count) {
  std::vector<std::complex<float>> data(static_cast<std::size_t>(count * slice_elements_));
  const auto bytes = static_cast<std::streamsize>(data.size()) * kElement;
  file_.seekg(first * slice_elements_ * kElement);
  file_.read(reinterpret_cast<char*>(data.data()), bytes);
  if (!file_ || file_.gcount() != bytes) {
    throw InputError(path_.string() + ": ends within slice " + std::to_string(first) + "; it is truncated");
  }
  return data;
}

CflWriter::CflWriter(const fs::path& name, const Dimensions& dims)
    : data_(with_suffix(name, ".cfl")),
      header_(with_suffix(name, ".hdr")),
      dims_(dims),
      left_(elements(dims)) {
  const auto part = [](const fs::path& path) {
    return path.parent_path() / (".part-" + std::to_string(::getpid()) + "-" + path.filename().string());
  };
  part_data_ = part(data_);
  part_header_ = part(header_);
  file_.open(part_data_, std::ios::binary | std::ios::trunc);
  if (!file_) {
    throw InputError(data_.string() + ": cannot be written; is its folder there, and may you write in it?");
  }
}

CflWriter::~CflWriter() {
  file_.close();
  std::error_code ignored;  // after `finish` there is nothing left to remove
  fs::remove(part_data_, ignored);
  fs::remove(part_header_, ignored);
}

void CflWriter::check(const std::ostream& stream) const {
  if (!stream) throw InputError(data_.string() + ": cannot be written to its end; is the disk full?");
}

void CflWriter::append(const std::complex<float>* data, std::int64_t count) {
  if (count > left_) throw std::logic_error("more data than the header says");
  left_ -= count;
  file_.write(reinterpret_cast<const char*>(data), count * kElement);
  check(file_);
}

void CflWriter::finish() {
  if (left_ != 0) throw std::logic_error("less data than the header says");
  file_.close();
  check(file_);
  std::ofstream header(part_header_, std::ios::trunc);
  header << "# Dimensions\n";
  for (std::size_t i = 0; i < kDimensions; ++i) header << (i ? " " : "") << dims_[i];
  header << "\n";
  header.close();
  check(header);
  std::error_code error;
  fs::rename(part_data_, data_, error);
  if (!error) fs::rename(part_header_, header_, error);
  if (error) throw InputError(data_.string() + ": cannot be written: " + error.message());
}

}  // namespace mrunfold
