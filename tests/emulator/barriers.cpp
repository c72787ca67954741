#include "barriers.h"

namespace cuemu {

int block_barrier(int vote, int line) {
  Thread& thread = *current();
  Block& block = *thread.block;
  thread.line = line;
  if (block.waiting && block.barrier_line != line) {
    report("divergent __syncthreads, lines " + std::to_string(block.barrier_line) + " and " + std::to_string(line) +
           ", " + place_of(thread));
  }
  int& votes = block.votes[block.epoch % 2];
  if (block.waiting == 0) votes = 0;
  votes += vote;
  block.barrier_line = line;
  ++block.waiting;
  thread.state = State::kAtBarrier;
  complete_barrier(block);
  suspend(thread);
  return votes;
}

void complete_barrier(Block& block) {
  if (block.alive == 0 || block.waiting != block.alive) return;
  block.waiting = 0;
  ++block.epoch;
  for (Thread& thread : block.threads) {
    if (thread.state == State::kAtBarrier) wake(thread);
  }
}

}  // namespace cuemu
