// A small test harness: TEST bodies run in order, CHECK reports and goes on, main returns the
// verdict.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "edge/error.h"

namespace edge::test {

struct Case {
  const char* name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

inline bool add(const char* name, std::function<void()> body) {
  cases().push_back({name, std::move(body)});
  return true;
}

inline void check(bool ok, const char* text, const char* file, int line) {
  if (ok) return;
  ++failures();
  std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
}

/// Runs `call`, which must throw an Error of this code whose message holds `text`.
template <typename Call>
void check_throws(ErrorCode code, const std::string& text, const Call& call, const char* file,
                  int line) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.code() == code && message.find(text) != std::string::npos) return;
    ++failures();
    std::fprintf(stderr, "%s:%d: expected %s with \"%s\", got %s: %s\n", file, line,
                 code_name(code), text.c_str(), code_name(error.code()), error.what());
    return;
  }
  ++failures();
  std::fprintf(stderr, "%s:%d: expected %s, nothing was thrown\n", file, line, code_name(code));
}

/// ctest's SKIP_RETURN_CODE.
inline constexpr int kSkipped = 77;

inline int run_all() {
  if (cases().empty()) ++failures();
  for (const Case& test : cases()) {
    try {
      test.body();
    } catch (const std::exception& error) {
      ++failures();
      std::fprintf(stderr, "%s: unexpected exception: %s\n", test.name, error.what());
    }
  }
  std::fprintf(stderr, "%zu tests, %d failures\n", cases().size(), failures());
  return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace edge::test

#define TEST(name)                                                       \
  static void test_##name();                                             \
  static const bool added_##name = edge::test::add(#name, &test_##name); \
  static void test_##name()
#define CHECK(condition) edge::test::check((condition), #condition, __FILE__, __LINE__)
#define CHECK_THROWS(code, text, call) \
  edge::test::check_throws(edge::ErrorCode::code, text, [&] { call; }, __FILE__, __LINE__)
