// Strict JSON: what is read, and what is refused.
#include "bundle/json.h"

#include <clocale>
#include <cmath>

#include "bundle/utf8.h"
#include "test.h"

namespace edge {
namespace {

using Kind = Json::Kind;

Json parse(std::string_view text) { return parse_json("a.json", text); }

TEST(reads_every_kind_of_value) {
  const Json json = parse(" {\"a\": [null, true, false, -12, 1.5e3, \"b\"], \"c\": {}} \n");
  CHECK(json.kind == Kind::kObject);
  CHECK(json.keys == (std::vector<std::string>{"a", "c"}));
  const std::vector<Json>& items = json.find("a")->items;
  CHECK(items.size() == 6);
  CHECK(items[0].kind == Kind::kNull);
  CHECK(items[1].kind == Kind::kBool && items[1].truth);
  CHECK(items[2].kind == Kind::kBool && !items[2].truth);
  CHECK(items[3].kind == Kind::kInteger && items[3].text == "-12");
  CHECK(items[4].kind == Kind::kReal && json_number(items[4].text) == 1500);
  CHECK(items[5].kind == Kind::kString && items[5].text == "b");
  CHECK(json.find("c")->kind == Kind::kObject);
  CHECK(json.find("nothing") == nullptr);
}

TEST(reads_escapes_and_utf8) {
  CHECK(parse(R"("\"\\\/\b\f\n\r\t")").text == "\"\\/\b\f\n\r\t");
  CHECK(parse(R"("\u0041\u00e9\u20ac\ud83d\ude00")").text ==
        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(parse("\"\xc3\xa9\"").text == "\xc3\xa9");
  CHECK(parse(R"("\u0000")").text == std::string(1, '\0'));
}

TEST(refuses_what_is_not_json) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1",
                           "[1,",
                           "[1,]",
                           "{\"a\"",
                           "{\"a\":",
                           "{\"a\":1",
                           "{\"a\":1,}",
                           "{,}",
                           "{1:2}",
                           "nul",
                           "True",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "-",
                           "+1",
                           "01",
                           "-01",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x1",
                           "1 2",
                           "[1 2]",
                           "\"",
                           "\"\\\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"a\nb\"",
                           "'a'",
                           "// a\n1",
                           "\xEF\xBB\xBF"
                           "1"}) {
    CHECK_THROWS(kBadBundle, "a.json is not strict JSON", parse(text));
  }
}

TEST(refuses_what_other_readers_let_pass) {
  CHECK_THROWS(kBadBundle, "same key twice", parse(R"({"a": 1, "b": 2, "a": 1})"));
  CHECK_THROWS(kBadBundle, "same key twice", parse(R"({"a": 1, "\u0061": 2})"));
  CHECK_THROWS(kBadBundle, "lone surrogate", parse(R"("\ud800")"));
  CHECK_THROWS(kBadBundle, "lone surrogate", parse(R"("\udc00")"));
  CHECK_THROWS(kBadBundle, "lone surrogate", parse(R"("\ud800\u0041")"));
  CHECK_THROWS(kBadBundle, "lone surrogate", parse(R"("\ud800x")"));
  CHECK_THROWS(kBadBundle, "too large", parse("1e309"));
  CHECK_THROWS(kBadBundle, "too large", parse("-1.0e99999999999999999999"));
  CHECK_THROWS(kBadBundle, "too long", parse(std::string(4301, '1')));
  CHECK(parse(std::string(4300, '1')).kind == Kind::kInteger);
  CHECK_THROWS(kBadBundle, "line 3", parse("[1,\n2,\n}"));
}

TEST(bounds_the_depth) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  CHECK(parse(nested(kMaxJsonDepth)).kind == Kind::kList);
  CHECK_THROWS(kBadBundle, "nested too deep", parse(nested(kMaxJsonDepth + 1)));
  CHECK_THROWS(kBadBundle, "nested too deep", parse(std::string(1'000'000, '[')));
}

TEST(numbers_do_not_depend_on_the_locale) {
  const char* const comma = std::setlocale(LC_ALL, "de_DE.UTF-8");
  CHECK(json_number("1.5") == 1.5);
  CHECK(json_number("-12.25e-2") == -0.1225);
  CHECK(json_number("123") == 123);
  CHECK(json_number("0.1") == 0.1);
  CHECK(json_number("1.7976931348623157e308") == 1.7976931348623157e308);
  CHECK(json_number("0e999999999999999999999") == 0);
  CHECK(json_number("1e-999999999999999999999") == 0);
  CHECK(std::isinf(json_number("1e400")));
  if (comma != nullptr) std::setlocale(LC_ALL, "C");
}

TEST(utf8_is_checked) {
  for (const char* good :
       {"", "a", "\xc3\xa9", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(is_utf8(good));
  }
  for (const char* bad :
       {"\x80", "\xc3", "\xc3(", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff"}) {
    CHECK(!is_utf8(bad));
  }
  CHECK(count_characters("a\xc3\xa9\xf0\x9f\x98\x80") == 3);
  CHECK(to_ascii("a\n\xc3\x01z") == "a\\n\\xc3\\x01z");
}

}  // namespace
}  // namespace edge
