#include <pthread.h>
#include <unistd.h>

#include "honest.h"

static void *work(void *asked) {
  usleep(50000);
  honest(static_cast<attention_args *>(asked));
  return nullptr;
}

extern "C" int attention(const attention_args *a) {
  pthread_t thread;
  pthread_create(&thread, nullptr, work, new attention_args(*a));
  pthread_detach(thread);
  return ATTENTION_OK;
}
