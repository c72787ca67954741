// Messages of the rendezvous: lines of words, behind their length, with a proof of origin at the end.
#pragma once
#include <sstream>
#include <string>
#include <vector>

#include "comm/rendezvous.h"
#include "comm/sha256.h"

namespace fnn::comm {

inline constexpr std::size_t kLongest = 8 << 20;  // 10,000 ranks need 1 MB
inline constexpr std::size_t kLength = 8;         // digits

inline std::string sealed(const std::string& secret, const std::string& text) {
  std::string length = std::to_string(text.size());
  length.insert(0, kLength - length.size(), '0');
  return length + text + text_of(hmac_sha256(secret, "message/" + text));
}

// Bytes that a message has in all, from its first kLength bytes; 0 if they aren't a message's.
inline std::size_t size_of_message(const std::string& begin) {
  std::size_t size = 0;
  for (const char c : begin.substr(0, kLength)) {
    if (c < '0' || c > '9') return 0;
    size = size * 10 + static_cast<std::size_t>(c - '0');
  }
  return size <= kLongest ? kLength + size + 32 : 0;
}

inline bool opened(const std::string& secret, const std::string& message, std::string* text) {
  *text = message.substr(kLength, message.size() - kLength - 32);
  return same_secret(message.substr(message.size() - 32), text_of(hmac_sha256(secret, "message/" + *text)));
}

inline std::string one_word(std::string text) {
  for (char& c : text) c = c > ' ' ? c : '_';
  return text.empty() ? "-" : text;
}

inline std::string line_of(const Member& member) {
  std::ostringstream out;
  out << member.rank << ' ' << one_word(member.machine) << ' ' << one_word(member.host) << ' ' << member.pid << ' '
      << one_word(member.door) << ' ' << one_word(member.address) << ' ' << member.port << '\n';
  return out.str();
}

inline Member member_of(std::istream& in) {
  Member member;
  in >> member.rank >> member.machine >> member.host >> member.pid >> member.door >> member.address >> member.port;
  return member;
}

}  // namespace fnn::comm
