// The words by which two ends of a connection prove that they know the secret, without sending it.
//
//   server: magic, nonce                        20 bytes
//   client: magic, nonce, HMAC over both        52 bytes: more than 64 bytes a stranger can't make anyone read
//   server: HMAC over both, the other way       32 bytes
#pragma once
#include <string>

#include "comm/sha256.h"
#include "comm/socket.h"

namespace fnn::comm {

inline constexpr std::size_t kMagic = 4, kNonce = 16, kProof = 32;
inline constexpr std::size_t kChallenge = kMagic + kNonce, kAnswer = kMagic + kNonce + kProof;
inline const std::string kServerMagic = "FNN1", kClientMagic = "fnn1";

class Greeted {
 public:
  Greeted(std::string secret, std::string purpose) : secret_(std::move(secret)), purpose_(std::move(purpose)) {}

  std::string challenge() {
    server_ = random_bytes(kNonce);
    return kServerMagic + server_;
  }
  // The client's turn. Empty if the challenge isn't one.
  std::string answer(const std::string& challenge) {
    if (challenge.substr(0, kMagic) != kServerMagic) return "";
    server_ = challenge.substr(kMagic);
    client_ = random_bytes(kNonce);
    return kClientMagic + client_ + proof("client");
  }
  bool accepts(const std::string& answer) {
    if (answer.size() != kAnswer || answer.substr(0, kMagic) != kClientMagic) return false;
    client_ = answer.substr(kMagic, kNonce);
    return same_secret(answer.substr(kMagic + kNonce), proof("client"));
  }
  std::string confirmation() const { return proof("server"); }
  bool confirms(const std::string& bytes) const { return same_secret(bytes, proof("server")); }

 private:
  std::string proof(const char* side) const {
    return text_of(hmac_sha256(secret_, purpose_ + "/" + side + "/" + server_ + client_));
  }
  std::string secret_, purpose_, server_, client_;
};

}  // namespace fnn::comm
